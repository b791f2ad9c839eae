package transitions_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/transitions/replay"
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
				h.runs = append(h.runs, h.runPlan(h.planWith(h.ottofile(), h.rules)))
			}
			for range 600 {
				h.act()
			}
			h.settle()
			for _, run := range h.runs {
				if d := must[string](t)(replay.Difference(h.ctx(), h.db.Owner, run)); d != "" {
					t.Errorf("run %d:\n%s", run, d)
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

// rules adds to a plan what its tasks wait for.
func (h *history) rules(p *pipeline.Plan) {
	var names []string
	for i := range p.Stages {
		p.Stages[i].OnFailure = !p.Stages[i].Always && h.rand.IntN(5) == 0
		for j := range p.Stages[i].Tasks {
			t := &p.Stages[i].Tasks[j]
			switch h.rand.IntN(8) {
			case 0:
				omitted(t)
			case 1:
				later(t)
			case 2, 3:
				group(1, []pipeline.OnConflict{pipeline.ConflictWait, pipeline.ConflictSkip, pipeline.ConflictAbortOlder}[h.rand.IntN(3)])(t)
			case 4, 5:
				needs(names[:min(len(names), h.rand.IntN(3))]...)(t)
			}
			names = append([]string{t.Name}, names...)
		}
	}
}

// chores do what jobs do.
func (h *history) chores() {
	h.t.Helper()
	var blocked []int64
	for _, run := range h.runs {
		for _, row := range must[[]db.TasksOfRunRow](h.t)(h.q.TasksOfRun(h.ctx(), run)) {
			if row.Task.State == "blocked" && row.Task.Undecided != nil && *row.Task.Undecided {
				blocked = append(blocked, row.Task.ID)
			}
		}
	}
	for _, task := range blocked {
		if h.rand.IntN(4) == 0 {
			must[db.Task](h.t)(h.q.TaskFail(h.ctx(), db.TaskFailParams{Task: task, Reason: "r", Actor: "t"}))
		} else {
			must[db.Task](h.t)(h.decide(task, h.rand.IntN(3) > 0, "r", "{}"))
		}
	}
	h.promote()
	for _, s := range must[[]db.GroupSupersededRow](h.t)(h.q.GroupSuperseded(h.ctx(), db.GroupSupersededParams{Project: h.project(), Name: "g"})) {
		_, _ = h.q.TaskSupersede(h.ctx(), db.TaskSupersedeParams{Task: s.Task, Run: s.Run, Actor: "t"})
	}
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
	switch h.rand.IntN(13) {
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
	case 12:
		if h.rand.IntN(6) == 0 {
			h.chores()
		}
	}
	if _, refused := db.AsRefusal(err); err != nil && !refused {
		h.t.Fatal(err)
	}
}

// settle ends everything: the agent stops what it holds, and works off the rest.
func (h *history) settle() {
	h.t.Helper()
	for range 60 {
		for _, l := range h.held {
			_, _ = h.tryStart(l)
			_, _ = h.tryFinish(l, "succeeded")
		}
		h.chores()
		dbtest.AdvanceClock(h.t, h.db, time.Minute)
		if h.held = h.lease(h.agent_, 100); len(h.held) == 0 && h.count("select count(*) from tasks where state = 'blocked'") == 0 {
			return
		}
	}
}
