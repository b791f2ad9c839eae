package transitions_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/db"
)

// batch writes reports about leases as tasks_start and tasks_finish read them.
func batch(t *testing.T, state string, leases ...held) json.RawMessage {
	t.Helper()
	list := []map[string]any{}
	for _, l := range leases {
		list = append(list, map[string]any{
			"lease": l.ID, "epoch": l.Epoch, "agent": l.AgentID, "actor": "agent",
			"steps": []stepReport{{0, state}}, "log": map[string]any{"chunks": 0, "bytes": 0},
		})
	}
	return encoded(t, list)
}

// A batch takes each report once, leaves out what is refused, and leaves out what somebody else holds rather than wait.
func TestBatchLeavesOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(4)
	agent, other := w.agent(`{}`), w.agent(`{}`)
	ls, runs := []held{}, []int64{}
	for range 5 {
		runs = append(runs, w.run("steps: [{sh: a}]"))
		ls = append(ls, w.lease(agent, 1)...)
	}
	late, foreign, unknown := ls[0], ls[0], ls[0]
	late.Epoch, foreign.AgentID, unknown.ID = 2, other, uuid.New()
	beating := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
	must[any](t)(beating.Exec(w.ctx(), "update leases set expires_at = expires_at where id = $1", ls[4].ID))

	started := must[[]db.TasksStartRow](t)(w.q.TasksStart(w.ctx(), batch(t, "running", late, foreign, unknown, ls[1], ls[2], ls[1], ls[4])))
	if len(started) != 2 || started[0].State != "running" || started[1].State != "running" {
		t.Errorf("started %v", started)
	}
	if n := w.count("select count(*) from events where kind in ('task.started', 'step.started')"); n != 4 {
		t.Errorf("%d events of 2 starts", n)
	}
	holding := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
	must[any](t)(holding.Exec(w.ctx(), "select otto.lock_run($1)", runs[3]))
	w.start(ls[3])
	finished := must[[]db.TasksFinishRow](t)(w.q.TasksFinish(w.ctx(), batch(t, "succeeded", late, foreign, unknown, ls[1], ls[1], ls[2], ls[3], ls[4])))
	if len(finished) != 2 {
		t.Errorf("finished %v", finished)
	}
	if n := w.count("select count(*) from events where kind in ('task.succeeded', 'run.succeeded', 'step.succeeded')"); n != 6 {
		t.Errorf("%d events of 2 ends", n)
	}
	if again := must[[]db.TasksFinishRow](t)(w.q.TasksFinish(w.ctx(), batch(t, "failed", ls[1]))); len(again) != 0 {
		t.Errorf("took a result again: %v", again)
	}
	for _, tx := range []pgx.Tx{holding, beating} {
		if err := tx.Rollback(w.ctx()); err != nil {
			t.Fatal(err)
		}
	}
	if finished = must[[]db.TasksFinishRow](t)(w.q.TasksFinish(w.ctx(), batch(t, "succeeded", ls[3], ls[4]))); len(finished) != 2 {
		t.Errorf("the rest: %v", finished)
	}
	w.want(runs[4], "succeeded: succeeded[main=succeeded]")
}

// Eight contenders send overlapping batches in any order: nobody waits for ever, and each lease ends once.
func TestBatchesContend(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(10)
	agent := w.agent(`{}`)
	wide := w.plan("stages: [{parallel: [{task: a, steps: [{sh: a}]}, {task: b, steps: [{sh: b}]}, {task: c, steps: [{sh: c}]}]}, {stage: z, steps: [{sh: z}]}]")
	for range 20 {
		runs := []int64{w.runPlan(wide), w.runPlan(wide), w.runPlan(wide)}
		ls := w.lease(agent, 9)
		if len(ls) != 9 {
			t.Fatalf("%d leases", len(ls))
		}
		contend(t, 8, func(i int) error {
			mine := append([]held{}, ls...)
			rand.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			if i < 2 {
				_, err := w.q.LeaseRenew(w.ctx(), db.LeaseRenewParams{Agent: agent, Held: ids(mine)})
				return err
			}
			if _, err := w.q.TasksStart(w.ctx(), batch(t, "running", mine[:6]...)); err != nil {
				return err
			}
			_, err := w.q.TasksFinish(w.ctx(), batch(t, "succeeded", mine[:6]...))
			return err
		})
		for _, l := range ls {
			must[db.Task](t)(w.tryFinish(l, "succeeded"))
		}
		for _, run := range runs {
			w.want(run, "running: succeeded[a=succeeded b=succeeded c=succeeded] running[z=ready]")
		}
		w.work(agent, nil)
		for _, run := range runs {
			if n := w.count("select count(*) from events where run_id = $1 and kind = 'stage.succeeded'", run); n != 2 {
				t.Fatalf("%d ends of 2 stages", n)
			}
		}
	}
}

func ids(leases []held) []uuid.UUID {
	list := make([]uuid.UUID, len(leases))
	for i, l := range leases {
		list[i] = l.ID
	}
	return list
}

// All runs of a batch are created in its order, or none is.
func TestRunsCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plan, name := w.plan(parallel), uuid.New()
	body := func(plans ...string) json.RawMessage {
		list := []map[string]any{}
		for i, p := range plans {
			list = append(list, map[string]any{"project": fmt.Sprint("p", i%2), "plan": p, "actor": fmt.Sprint("u", i)})
		}
		list[0]["uuid"] = name
		return encoded(t, list)
	}
	if _, err := w.q.RunsCreate(w.ctx(), body(plan, "sha256:none")); err == nil {
		t.Error("a run of a plan that is not there")
	}
	if n := w.count("select count(*) from runs"); n != 0 {
		t.Errorf("%d runs of a batch that was refused", n)
	}
	rows := must[[]db.Run](t)(w.q.RunsCreate(w.ctx(), body(plan, plan, plan)))
	if len(rows) != 3 || rows[0].Uuid != name || rows[2].CreatedBy != "u2" || rows[0].ProjectID != rows[2].ProjectID || rows[0].ProjectID == rows[1].ProjectID {
		t.Errorf("got %+v", rows)
	}
	for _, r := range rows {
		w.want(r.ID, "running: running[a=ready b=ready] waiting[c=waiting]")
	}
}
