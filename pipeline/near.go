package pipeline

import "strings"

// nearest gives the known word that was probably meant, or "".
func nearest(word string, known []string) string {
	if len(word) > 40 {
		return "" // nobody meant it, and distance is quadratic
	}
	best, at := "", 1+len(word)/3 // one mistake in a short word, two from six letters on
	at = min(at, 3)
	for _, k := range known {
		if n := distance(strings.ToLower(word), k); n <= at && (best == "" || n < at) {
			best, at = k, n
		}
	}
	return best
}

// distance counts insertions, deletions, replacements and swaps of neighbours between two words.
func distance(a, b string) int {
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
