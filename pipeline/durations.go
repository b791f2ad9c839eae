package pipeline

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// The bounds of a timeout.
const (
	maxTimeout         = 7 * 24 * time.Hour
	defaultTaskTimeout = time.Hour
)

var (
	durationText = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(d|h|ms|m|s))+$`)
	durationPart = regexp.MustCompile(`([0-9]+(?:\.[0-9]+)?)(d|h|ms|m|s)`)
)

// timeout reads a duration as milliseconds.
func (d *decoder) timeout(n *node) val[int64] {
	if n.kind == stringKind && d.hasExpr(n) {
		return val[int64]{}
	}
	if n.kind == numberKind {
		d.add(badDuration, n.at, "the duration %s has no unit", shorten(n.text, 40)).
			Suggestion = fmt.Sprintf("write %ss for seconds or %sm for minutes", shorten(n.text, 20), shorten(n.text, 20))
		return val[int64]{}
	}
	if !d.want(n, stringKind, "a duration") {
		return val[int64]{}
	}
	ms, ok := parseDuration(n.text)
	switch {
	case !ok:
		d.add(badDuration, n.at, "%q is not a duration", shorten(n.text, 40)).Suggestion = "write 90s, 10m, 1h30m or 2d"
	case ms <= 0:
		d.add(badDuration, n.at, "a duration must be at least 1ms")
	case ms > maxTimeout.Milliseconds():
		d.add(badDuration, n.at, "the duration %s is longer than 7d", shorten(n.text, 40))
	}
	return val[int64]{ms, n}
}

// parseDuration reads 90s, 10m, 1h30m and 2d. Go's own parser has no days, and takes signs and nanoseconds.
func parseDuration(text string) (ms int64, ok bool) {
	if len(text) > 100 || !durationText.MatchString(text) {
		return 0, false
	}
	unit := map[string]float64{"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
	var sum float64
	for _, part := range durationPart.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(part[1], 64)
		if err != nil {
			return 0, false
		}
		sum += n * unit[part[2]]
	}
	return int64(min(sum, 1e15)), true
}
