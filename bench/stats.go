package bench

import (
	"math"
	"slices"
)

// samples are measurements of one thing, in any order.
type samples []float64

// quantile is the smallest sample that at least the share q of all does not exceed; NaN without samples.
func (s samples) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	at := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(at, 0), len(sorted)-1)]
}

// median is the middle, or the mean of the two in the middle; NaN without samples.
func (s samples) median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// over divides one by one.
func (s samples) over(others samples) samples {
	out := make(samples, 0, len(s))
	for i := range s {
		out = append(out, s[i]/others[i])
	}
	return out
}
