package properties

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// What a plan says is what runs: of a task of the plan, exactly what was to run has run, in the order that was to be, and what did
// not says why; whatever fails, is retried, decided late or stopped, in several runs of a project at once.
func TestWhatWasPlannedIsWhatRuns(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	check(t, 150, e.batch)
}

// batch makes some runs of one project, works them off, and judges what became of them. It answers how many.
func (e *engine) batch(t *rapid.T) int {
	seed := rapid.Uint64().Draw(t, "seed")
	c := &crew{engine: e, fataler: t, rand: rand.New(rand.NewPCG(seed, 0)), runs: map[int64]*started{}, ctx: context.Background()}
	e.batches++
	project := fmt.Sprint("p", e.batches)
	var runs []*started
	for range rapid.IntRange(1, 12).Draw(t, "runs") {
		f := drawOttofile(t)
		r := &started{ottofile: f, text: asYAML(f.tree(), "")[1:], project: project}
		r.plan, _ = compile(t, r.text, f.facts)
		runs = append(runs, r)
	}
	c.work(append([]*started(nil), runs...))
	var histories []*history
	for _, r := range runs {
		histories = append(histories, c.happened(r))
	}
	for i, h := range histories {
		if err := h.judge(histories); err != nil {
			t.Fatalf("run %d: %v\n%s\n%s", runs[i].id, err, h.lines(), runs[i].text)
		}
	}
	if err := crowded(histories); err != nil {
		t.Fatal(err)
	}
	return len(runs)
}

// lines tells a history.
func (h *history) lines() (out string) {
	out = fmt.Sprintf("event %+v, params %v: %s\n", h.facts.Event, h.params, h.run.State)
	for _, l := range h.legs {
		f := h.tasks[l.name]
		out += fmt.Sprintf("  %d/%d %-10s %-10s %q attempts %+v events %v\n", f.stage, f.index, l.name, f.State, f.reason(), f.done, f.at)
	}
	return out
}
