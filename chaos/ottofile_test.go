package main

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/ottoci/otto/pipeline"
)

// Every Ottofile of the load is right, and together they have everything that the oracle judges.
func TestOttofiles(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for seed := range uint64(400) {
		text := newOttofile(rand.New(rand.NewPCG(seed, 1)), seed, map[string]string{"CHAOS_MARK": "x"})
		_, problems := pipeline.Compile(pipeline.File{Name: "Ottofile.yaml", Data: []byte(text)}, pipeline.Facts{})
		if problems.HasErrors() {
			t.Fatalf("seed %d: %v\n%s", seed, problems, text)
		}
		var o ottofile
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		o.count(seen)
	}
	for _, what := range []string{"on_failure", "always", "needs", "late tasks", "late steps", "omitted tasks", "outputs", "wait", "skip", "abort_older", "retries"} {
		if seen[what] < 20 {
			t.Errorf("%d of 400 Ottofiles have %s", seen[what], what)
		}
	}
}

func (o *ottofile) count(seen map[string]int) {
	add := func(what string, has bool) {
		if has {
			seen[what]++
		}
	}
	add("on_failure", o.OnFailure != nil)
	add("always", o.Always != nil)
	for _, s := range append(append(o.Stages, o.OnFailure...), o.Always...) {
		for _, t := range s.Tasks {
			add("needs", t.Needs != nil)
			add("omitted tasks", t.When == "false")
			add("late tasks", t.When != "" && t.When != "false")
			add("late steps", t.Steps[0].When != "")
			add("outputs", t.Outputs != nil)
			add("retries", t.Retries != nil)
			if t.Concurrency != nil {
				add(t.Concurrency.OnConflict, true)
			}
		}
	}
}
