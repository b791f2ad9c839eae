package transitions_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
)

// A random history of runs is rebuilt from its events alone: run, stages, tasks and the steps of every attempt.
func TestReplay(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed_", seed), func(t *testing.T) {
			t.Parallel()
			h := history{world: newWorld(t), rand: rand.New(rand.NewPCG(seed, 0))}
			h.agent_ = h.agent(`{}`)
			for range 12 {
				h.runs = append(h.runs, h.run(h.ottofile()))
			}
			for range 600 {
				h.act()
			}
			h.settle()
			for _, run := range h.runs {
				if d := cmp.Diff(h.rows(run), h.replay(run)); d != "" {
					t.Errorf("run %d: rows (-) and replayed events (+) differ:\n%s", run, d)
				}
				if row := h.runRow(run); row.FinishedAt == nil {
					t.Errorf("run %d never ended: %s", run, h.states(run))
				}
			}
		})
	}
}

type history struct {
	*world
	rand   *rand.Rand
	agent_ int64
	runs   []int64
	held   []held
}

func (h *history) ottofile() string {
	var b strings.Builder
	b.WriteString("stages:\n")
	for s := range 1 + h.rand.IntN(4) {
		mode := []string{"parallel", "fanout", "linear"}[h.rand.IntN(3)]
		fmt.Fprintf(&b, "  - {stage: s%d, mode: %s, always: %v, tasks: [", s, mode, h.rand.IntN(4) == 0)
		for i := range 1 + h.rand.IntN(3) {
			fmt.Fprintf(&b, "{task: t%d-%d, always: %v, allow_failure: %v, retries: %d, steps: [{sh: a}, {sh: b, allow_failure: true}]},",
				s, i, h.rand.IntN(5) == 0, h.rand.IntN(4) == 0, 1+h.rand.IntN(2))
		}
		b.WriteString("]}\n")
	}
	return b.String()
}

// act makes one random move; refusals are part of the game.
func (h *history) act() {
	h.t.Helper()
	pick := func() (held, bool) {
		if len(h.held) == 0 {
			return held{}, false
		}
		return h.held[h.rand.IntN(len(h.held))], true
	}
	var err error
	switch h.rand.IntN(12) {
	case 0, 1, 2:
		h.held = append(h.held, h.lease(h.agent_, 1+h.rand.IntN(3))...)
	case 3, 4:
		if l, ok := pick(); ok {
			_, err = h.tryStart(l)
		}
	case 5, 6, 7, 8:
		if l, ok := pick(); ok {
			_, err = h.tryFinish(l, []string{"succeeded", "succeeded", "failed", "unstable", "aborted"}[h.rand.IntN(5)])
		}
	case 9:
		if l, ok := pick(); ok {
			_, err = h.q.TaskRelease(h.ctx(), db.TaskReleaseParams{Lease: l.ID, Epoch: l.Epoch, Agent: l.AgentID, Actor: "t"})
		}
	case 10:
		if h.rand.IntN(6) == 0 {
			_, err = h.q.RunAbort(h.ctx(), db.RunAbortParams{Run: h.runs[h.rand.IntN(len(h.runs))], Actor: "t"})
		}
	case 11:
		if l, ok := pick(); ok && h.rand.IntN(4) == 0 {
			_, err = h.q.TaskAbort(h.ctx(), db.TaskAbortParams{Task: l.TaskID, Actor: "t"})
		}
	}
	if _, refused := db.AsRefusal(err); err != nil && !refused {
		h.t.Fatal(err)
	}
}

// settle ends everything: the agent stops what it holds, and works off the rest.
func (h *history) settle() {
	h.t.Helper()
	for range 20 {
		for _, l := range h.held {
			_, _ = h.tryStart(l)
			_, _ = h.tryFinish(l, "succeeded")
		}
		dbtest.AdvanceClock(h.t, h.db, time.Minute)
		if h.held = h.lease(h.agent_, 100); len(h.held) == 0 {
			return
		}
	}
}

// rows is the state of everything in a run, by name.
func (h *history) rows(run int64) map[string]string {
	h.t.Helper()
	out := map[string]string{"run": h.runRow(run).State}
	for _, s := range must[[]db.Stage](h.t)(h.q.StagesOfRun(h.ctx(), run)) {
		out["stage "+s.Name] = s.State
	}
	for _, t := range must[[]db.TasksOfRunRow](h.t)(h.q.TasksOfRun(h.ctx(), run)) {
		out["task "+t.Task.Name] = fmt.Sprint(t.Task.State, " attempt ", t.Task.Epoch)
		for _, s := range must[[]db.Step](h.t)(h.q.StepsOfTask(h.ctx(), t.Task.ID)) {
			out[fmt.Sprint("step ", t.Task.Name, " ", s.Epoch, ".", s.Index)] = s.State
		}
	}
	return out
}

// replay rebuilds the same from the plan's names and the events.
func (h *history) replay(run int64) map[string]string {
	h.t.Helper()
	out := map[string]string{}
	states := map[string]string{"created": "pending", "started": "running", "requeued": "ready", "retrying": "ready"}
	attempts := map[string]int32{}
	for _, e := range h.events(run) {
		entity, verb, _ := strings.Cut(e.Kind, ".")
		state := verb
		if s, ok := states[verb]; ok {
			state = s
		}
		switch {
		case e.Kind == "run.planned":
			for _, s := range must[[]db.Stage](h.t)(h.q.StagesOfRun(h.ctx(), run)) {
				out["stage "+s.Name] = "waiting"
			}
			for _, t := range must[[]db.TasksOfRunRow](h.t)(h.q.TasksOfRun(h.ctx(), run)) {
				out["task "+t.Task.Name] = "waiting attempt 0"
			}
		case verb == "completed", e.Kind == "task.aborting", e.Kind == "task.interrupted", e.Kind == "task.revoked":
		case entity == "run":
			out["run"] = state
		case entity == "stage":
			out["stage "+e.Stage] = state
		case entity == "task":
			if e.Kind == "task.scheduled" {
				attempts[e.Name] = *e.Epoch
				out[fmt.Sprint("step ", e.Name, " ", *e.Epoch, ".0")] = "waiting"
				out[fmt.Sprint("step ", e.Name, " ", *e.Epoch, ".1")] = "waiting"
			}
			out["task "+e.Name] = fmt.Sprint(state, " attempt ", attempts[e.Name])
		case entity == "step":
			out[fmt.Sprint("step ", e.Name, " ", *e.Epoch, ".", *e.Step)] = state
		}
	}
	return out
}
