package main

import (
	"slices"
	"testing"
	"time"
)

// A short run of nearly everything, always with the same seed, which has 13 kinds of faults: what breaks here breaks
// within minutes elsewhere. Longer runs with other seeds are `make chaos`.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	t.Parallel()
	r, err := run(t.Context(), config{Time: 15 * time.Second, Settle: 2 * time.Minute, Seed: 36, Talk: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r.text())
	if !r.Passed {
		t.Errorf("%d promises are broken", len(r.Broken))
	}
	if r.Counts.Attempts == 0 || r.Looks == 0 || sum(r.Done) == 0 || r.Counts.Operations == 0 {
		t.Error("nothing was done, so nothing is proved")
	}
	if filled := r.Done["fill-disk"] > 0 && r.Done["fill-database"] > 0; filled == (r.LeftOut != "") {
		t.Errorf("disks were filled: %t; left out: %q", filled, r.LeftOut)
	}
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	one, again, other := schedule(1, time.Minute, nil), schedule(1, time.Minute, nil), schedule(2, time.Minute, nil)
	if !slices.Equal(one, again) {
		t.Error("the same seed has two lists of faults")
	}
	if slices.Equal(one, other) {
		t.Error("two seeds have the same list of faults")
	}
	for _, f := range schedule(1, time.Minute, []string{"kill", "cut"}) {
		if f.Kind != "kill" && f.Kind != "cut" {
			t.Errorf("asked for two kinds, got %s", f)
		}
	}
	if err := checkKinds([]string{"earthquake"}); err == nil {
		t.Error("a fault that does not exist is taken")
	}
}
