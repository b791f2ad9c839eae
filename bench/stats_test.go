package bench

import (
	"bytes"
	"math"
	"testing"
)

func TestSamples(t *testing.T) {
	t.Parallel()
	hundred := make(samples, 0, 100)
	for i := 100; i >= 1; i-- {
		hundred = append(hundred, float64(i))
	}
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"median_of_even", samples{4, 1, 3, 2}.median(), 2.5},
		{"median_of_odd", samples{3, 1, 2}.median(), 2},
		{"p99", hundred.quantile(0.99), 99},
		{"min", hundred.quantile(0), 1},
		{"max", hundred.quantile(1), 100},
		{"p99_of_few_is_the_worst", samples{1, 9, 5}.quantile(0.99), 9},
		{"quotients", samples{4, 9}.over(samples{2, 3})[1], 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.got != c.want {
				t.Errorf("%v, want %v", c.got, c.want)
			}
		})
	}
	if !math.IsNaN(samples{}.median()) || !math.IsNaN(samples{}.quantile(0.5)) {
		t.Error("no samples have a median")
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 1: "1", 0.351: "0.35", 0.0123: "0.012", 12.34: "12.3", 999.6: "1,000", 1234567: "1,234,567", -1500: "-1,500"} {
		if got := number(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	stat := "42 (a) b) S 7 42 42 0 -1 4194304 100 0 0 0 11 5 30 4 20 0 1 0 100 1000 10 18446744073709551615"
	if p := parseStat([]byte(stat)); p.parent != 7 || p.own != 16*tick || p.withChildren != 50*tick {
		t.Errorf("%+v", p)
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	all := map[int]proc{1: {withChildren: 1}, 2: {parent: 1, withChildren: 10}, 3: {parent: 2, withChildren: 100}, 4: {parent: 9, withChildren: 1000}}
	if got := tree(all, 1); got != 111 {
		t.Errorf("the tree of 1 has used %d, want 111", got)
	}
}

func TestLogText(t *testing.T) {
	t.Parallel()
	text := logText(randomOf(1), 10*logLine+7)
	if len(text) != 10*logLine || text[logLine-1] != '\n' || text[len(text)-1] != '\n' {
		t.Errorf("%d bytes, not ten lines: %q", len(text), text)
	}
	again := logText(randomOf(1), 10*logLine+7)
	if !bytes.Equal(text, again) {
		t.Error("the same seed makes different logs")
	}
}
