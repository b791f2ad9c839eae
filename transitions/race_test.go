package transitions_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/db"
)

// contend runs n contenders at once and says how many were not refused. Every other error fails the test.
func contend(t *testing.T, n int, f func(i int) error) int {
	t.Helper()
	var won atomic.Int32
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-gate
			err := f(i)
			if _, refused := db.AsRefusal(err); err == nil {
				won.Add(1)
			} else if !refused {
				t.Error(err)
			}
		})
	}
	close(gate)
	wg.Wait()
	return int(won.Load())
}

// widen gives the world a pool with a connection for each contender.
func (w *world) widen(conns int32) *world {
	w.t.Helper()
	c := w.db.App.Config()
	c.MaxConns = conns
	pool := must[*pgxpool.Pool](w.t)(pgxpool.NewWithConfig(w.ctx(), c))
	w.t.Cleanup(pool.Close)
	w.q = db.New(pool)
	return w
}

// Eight finish one task: all get the same answer, there is one event and one follow-up.
func TestEightFinish(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(8)
	agent := w.agent(`{}`)
	for range 20 {
		run := w.run(three)
		l := w.leaseOne(agent)
		outcomes := []string{"succeeded", "failed", "unstable", "aborted"}
		var answers sync.Map
		won := contend(t, 8, func(i int) error {
			task, err := w.tryFinish(l, outcomes[i%4])
			answers.Store(task.State, true)
			return err
		})
		var distinct int
		answers.Range(func(any, any) bool { distinct++; return true })
		ends := w.count("select count(*) from events where task_id = $1 and kind = 'task.completed'", l.TaskID)
		stages := w.count("select count(*) from events where run_id = $1 and kind = 'stage.completed' and stage_id = (select stage_id from tasks where id = $2)", run, l.TaskID)
		if won != 8 || distinct != 1 || ends != 1 || stages != 1 {
			t.Fatalf("%d answers, %d different; %d ends of the task, %d of the stage", won, distinct, ends, stages)
		}
		w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run, Actor: "t"}) // it may be over
	}
}

// Eight agents want one task: one gets it.
func TestEightLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(8)
	agents := make([]int64, 8)
	for i := range agents {
		agents[i] = w.agent(`{}`)
	}
	for range 20 {
		w.run("steps: [{sh: a}]")
		var granted atomic.Int32
		contend(t, 8, func(i int) error {
			ls, err := w.q.TaskLease(context.Background(), db.TaskLeaseParams{Slots: agents[i : i+1], Actor: "t"})
			granted.Add(int32(len(ls)))
			return err
		})
		if granted.Load() != 1 {
			t.Fatalf("%d leases of one task", granted.Load())
		}
	}
}

// Two siblings finish at once, 200 times: no run is stuck.
func TestTwoSiblings(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(8)
	agent := w.agent(`{}`)
	plan := w.plan(parallel)
	for i := range 200 {
		run := w.runPlan(plan)
		ls := w.lease(agent, 2)
		for _, l := range ls {
			w.start(l)
		}
		if won := contend(t, 2, func(i int) error { _, err := w.tryFinish(ls[i], "succeeded"); return err }); won != 2 {
			t.Fatalf("round %d: %d results taken", i, won)
		}
		w.want(run, "running: succeeded[a=succeeded b=succeeded] running[c=ready]")
		w.finish(w.leaseOne(agent), "succeeded")
	}
}

// A task is given to an agent while it is being parked: in whatever order, nobody holds a lease of a parked task.
func TestQuarantineRacesLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(8)
	agent := w.agent(`{}`)
	plan := w.plan("steps: [{sh: a}]")
	for range 60 {
		run := w.runPlan(plan)
		task := must[[]db.TasksOfRunRow](t)(w.q.TasksOfRun(w.ctx(), run))[0].Task.ID
		contend(t, 4, func(i int) error {
			if i%2 == 0 {
				_, err := w.q.TaskLease(context.Background(), db.TaskLeaseParams{Slots: []int64{agent}, Actor: "t"})
				return err
			}
			_, err := w.q.TaskQuarantine(context.Background(), db.TaskQuarantineParams{Task: task, Actor: "t", Reason: "r"})
			return err
		})
		if n := w.count("select count(*) from leases l join tasks t on t.id = l.task_id where l.ended_at is null and t.lease_id is distinct from l.id"); n != 0 {
			t.Fatalf("%d leases are active that no task knows of; the task is %s", n, w.task(task).State)
		}
		must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run, Actor: "t"}))
	}
}

// Two of a fanout fail at once: both are failed or one was aborted; there is one end, and nobody is left.
func TestTwoFanoutFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(8)
	agent := w.agent(`{}`)
	plan := w.plan(fanout)
	for range 50 {
		run := w.runPlan(plan)
		ls := w.lease(agent, 2)
		for _, l := range ls {
			w.start(l)
		}
		contend(t, 2, func(i int) error { _, err := w.tryFinish(ls[i], "failed"); return err })
		w.want(run, "failed: failed[a=failed b=failed] skipped[c=skipped]")
		if n := w.count("select count(*) from events where run_id = $1 and kind = 'task.aborting'", run); n > 1 {
			t.Fatalf("%d rounds of aborting, want at most one", n)
		}
	}
}

// An abort races with the start and the result of a task, at every point: the run always ends.
func TestAbortRacesEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(12)
	agent := w.agent(`{}`)
	plan := w.plan(fanout)
	for range 100 {
		run := w.runPlan(plan)
		var kept sync.Map
		contend(t, 4, func(i int) error {
			switch i {
			case 0, 1:
				ls, err := w.q.TaskLease(context.Background(), db.TaskLeaseParams{Slots: []int64{agent}, Actor: "t"})
				for _, l := range ls {
					kept.Store(l.ID, held{Lease: l})
					if _, err := w.tryStart(held{Lease: l}); err != nil {
						return err
					}
					if _, err := w.tryFinish(held{Lease: l}, "failed"); err != nil {
						return err
					}
				}
				return err
			default:
				_, err := w.q.RunAbort(context.Background(), db.RunAbortParams{Run: run, Actor: "t"})
				return err
			}
		})
		// What the abort told agents to stop, they stop.
		kept.Range(func(_, l any) bool { _, _ = w.tryFinish(l.(held), "aborted"); return true })
		if row := w.runRow(run); row.FinishedAt == nil {
			t.Fatalf("stuck: %s", w.states(run))
		}
		if n := w.count("select count(*) from events where run_id = $1 and kind = 'run.completed'", run); n != 1 {
			t.Fatalf("%d ends of a run", n)
		}
	}
}

// Scenario A-26: 500 tasks and 50 agents that ask hard. Each attempt is granted once.
func TestManyAgents(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(20)
	agents := make([]int64, 50)
	for i := range agents {
		agents[i] = w.agent(`{}`)
	}
	tasks := "stages:\n  - parallel:\n"
	for i := range 500 {
		tasks += fmt.Sprintf("      - {task: t%d, steps: [{sh: a}]}\n", i)
	}
	run := w.run(tasks)
	var mu sync.Mutex
	seen := map[int64]int{}
	contend(t, len(agents), func(i int) error {
		for {
			ls, err := w.q.TaskLease(context.Background(), db.TaskLeaseParams{Slots: slices.Repeat(agents[i:i+1], 3), Actor: "t"})
			if err != nil || len(ls) == 0 {
				return err
			}
			for _, l := range ls {
				mu.Lock()
				seen[l.TaskID]++
				mu.Unlock()
				if _, err := w.tryStart(held{Lease: l}); err != nil {
					return err
				}
				if _, err := w.tryFinish(held{Lease: l}, "succeeded"); err != nil {
					return err
				}
			}
		}
	})
	if len(seen) != 500 || w.count("select max(epoch) from tasks where run_id = $1", run) != 1 {
		t.Errorf("%d tasks were granted, want 500 once each", len(seen))
	}
	if got := w.runRow(run).State; got != "succeeded" {
		t.Errorf("run is %s", got)
	}
}
