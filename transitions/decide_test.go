package transitions_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
)

func later(t *pipeline.Task) {
	t.Later = []pipeline.Later{{Field: "/when", Expr: "outputs.a.go"}, {Field: "/env/V", Expr: "outputs.a.v"}}
}

func (w *world) decide(task int64, runs bool, reason, decided string) (db.Task, error) {
	p := db.TaskDecideParams{Task: task, Runs: runs, Actor: "t"}
	if reason != "" {
		p.Reason = &reason
	}
	if decided != "" {
		p.Decided = json.RawMessage(decided)
	}
	return w.q.TaskDecide(w.ctx(), p)
}

func (w *world) jobs(kind string) int {
	w.t.Helper()
	return w.count("select count(*) from river.river_job where kind = $1", kind)
}

// What is decided late blocks a task when it would start, with a job; then it runs, or is skipped, or has failed.
func TestDecide(t *testing.T) {
	t.Parallel()
	begin := func(t *testing.T, outcome string, more tasks) (*world, int64, int64, int64) {
		t.Helper()
		w := newWorld(t)
		agent := w.agent(`{}`)
		if f := more["b"]; f != nil {
			more["b"] = both(later, f)
		} else {
			more["b"] = later
		}
		run := w.runPlan(w.planWith(three, change(more)))
		if w.jobs("task_decide") != 0 {
			t.Error("a job before the task would start")
		}
		w.end(agent, run, "a", outcome)
		return w, agent, run, w.id(run, "b")
	}
	t.Run("runs", func(t *testing.T) {
		t.Parallel()
		w, agent, run, b := begin(t, "succeeded", tasks{})
		w.want(run, "running: succeeded[a=succeeded] running[b=blocked] waiting[c=waiting]")
		if got := w.task(b); *got.Reason != "condition" || got.ReadyAt != nil || w.count("select (args ->> 'task')::bigint from river.river_job where kind = 'task_decide'") != int(b) {
			t.Errorf("blocked: %+v", got)
		}
		if ls := w.lease(agent, 5); len(ls) != 0 {
			t.Error("a blocked task was leased")
		}
		seen := must[[]db.TaskUndecidedRow](t)(w.q.TaskUndecided(w.ctx(), b))
		if len(seen) != 1 || seen[0].RunID != run || seen[0].RunState != "running" || !strings.Contains(string(seen[0].Spec), "outputs.a.go") {
			t.Errorf("to be decided: %+v", seen)
		}
		must[db.Task](t)(w.decide(b, true, "", `{"/env/V": "1.2", "/steps/0/when": false}`))
		w.want(run, "running: succeeded[a=succeeded] running[b=ready] waiting[c=waiting]")
		if got := w.task(b); got.Reason != nil || got.ReadyAt == nil {
			t.Errorf("ready: %+v", got)
		}
		_, err := w.decide(b, true, "", "")
		wantRefusal(t, err, db.Conflict, "is ready: cannot decide")
		if seen := must[[]db.TaskUndecidedRow](t)(w.q.TaskUndecided(w.ctx(), b)); len(seen) != 0 {
			t.Error("it is still to be decided")
		}
		var data string
		for _, e := range w.events(run) {
			if e.Kind == "task.decided" {
				data = string(e.Data)
			}
		}
		if data != `{"runs": true, "fields": ["/env/V", "/steps/0/when"]}` {
			t.Errorf("the event says %s", data)
		}
		l := w.leaseOne(agent)
		grants := must[[]db.LeaseGrantsRow](t)(w.q.LeaseGrants(w.ctx(), []uuid.UUID{l.ID}))
		if got := string(grants[0].Decided); got != `{"/env/V": "1.2", "/steps/0/when": false}` {
			t.Errorf("handed out: %s", got)
		}
		w.finish(l, "succeeded")
		w.work(agent, nil)
		w.want(run, "succeeded: succeeded[a=succeeded] succeeded[b=succeeded] succeeded[c=succeeded]")
	})
	t.Run("does_not_run", func(t *testing.T) {
		t.Parallel()
		w, agent, run, b := begin(t, "succeeded", tasks{"c": needs("b")})
		must[db.Task](t)(w.decide(b, false, "outputs.a.go is false", ""))
		w.want(run, "running: succeeded[a=succeeded] skipped[b=skipped] running[c=ready]")
		if got := w.task(b).Reason; *got != "outputs.a.go is false" {
			t.Errorf("reason %s", *got)
		}
		w.work(agent, nil)
		w.want(run, "succeeded: succeeded[a=succeeded] skipped[b=skipped] succeeded[c=succeeded]")
	})
	t.Run("cannot_be_decided", func(t *testing.T) {
		t.Parallel()
		w, _, run, b := begin(t, "succeeded", tasks{"c": needs("b"), "b": func(t *pipeline.Task) { t.Retries = &pipeline.Retries{Limit: 2, On: []string{"failed"}} }})
		must[db.Task](t)(w.q.TaskFail(w.ctx(), db.TaskFailParams{Task: b, Reason: "no such key: v", Actor: "t"}))
		w.want(run, "failed: succeeded[a=succeeded] failed[b=failed] skipped[c=skipped]")
		if got := w.task(b).Reason; *got != "condition: no such key: v" {
			t.Errorf("reason %s", *got)
		}
		_, err := w.q.TaskFail(w.ctx(), db.TaskFailParams{Task: b, Reason: "again", Actor: "t"})
		wantRefusal(t, err, db.Conflict, "is failed: cannot fail")
	})
	t.Run("aborted_meanwhile", func(t *testing.T) {
		t.Parallel()
		w, _, run, b := begin(t, "succeeded", tasks{})
		must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run, Actor: "t"}))
		w.want(run, "aborted: succeeded[a=succeeded] aborted[b=aborted] aborted[c=aborted]")
		_, err := w.decide(b, true, "", "")
		wantRefusal(t, err, db.Conflict, "is aborted: cannot decide")
	})
	t.Run("only_when_it_would_start", func(t *testing.T) {
		t.Parallel()
		w, _, run, b := begin(t, "failed", tasks{})
		w.want(run, "failed: failed[a=failed] skipped[b=skipped] skipped[c=skipped]")
		_, err := w.decide(b, true, "", "")
		wantRefusal(t, err, db.Conflict, "is skipped: cannot decide")
		if w.jobs("task_decide") != 0 {
			t.Error("a job for a task that does not start")
		}
	})
	t.Run("once_for_all_attempts", func(t *testing.T) {
		t.Parallel()
		w, agent, run, b := begin(t, "succeeded", tasks{"b": func(t *pipeline.Task) { t.Retries = &pipeline.Retries{Limit: 2, On: []string{"failed"}} }})
		must[db.Task](t)(w.decide(b, true, "", `{"/env/V": "1"}`))
		w.end(agent, run, "b", "failed")
		w.want(run, "running: succeeded[a=succeeded] running[b=ready] waiting[c=waiting]")
		if got := string(w.task(b).Decided); got != `{"/env/V": "1"}` {
			t.Errorf("decided is %s", got)
		}
	})
}

// A linear stage waits for what is to be decided; a failure of a fanout aborts it.
func TestUndecidedHoldsItsStage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	linear := w.runPlan(w.planWith(`stages: [{stage: s, mode: linear, tasks: [{task: a, steps: [{sh: a}]}, {task: b, steps: [{sh: b}]}]}]`, change(tasks{"a": later})))
	w.want(linear, "running: running[a=blocked b=waiting]")
	must[db.Task](t)(w.decide(w.id(linear, "a"), false, "no", ""))
	w.want(linear, "running: running[a=skipped b=ready]")
	w.work(agent, nil)
	fan := w.runPlan(w.planWith(fanout, change(tasks{"b": later})))
	w.end(agent, fan, "a", "failed")
	w.want(fan, "failed: failed[a=failed b=aborted] skipped[c=skipped]")
	fails := w.runPlan(w.planWith(fanout, change(tasks{"b": later})))
	must[db.Task](t)(w.q.TaskFail(w.ctx(), db.TaskFailParams{Task: w.id(fails, "b"), Reason: "r", Actor: "t"}))
	w.want(fails, "failed: failed[a=aborted b=failed] skipped[c=skipped]")
}

// Lost jobs come back, and only those that are lost.
func TestDecisionsAreFoundAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := w.runPlan(w.planWith(parallel, change(tasks{"a": later, "b": later})))
	found := func() int32 { return must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t")).Deciding }
	if n := found(); n != 0 || w.jobs("task_decide") != 2 {
		t.Fatalf("found %d, with %d jobs", n, w.jobs("task_decide"))
	}
	w.exec("delete from river.river_job where (args ->> 'task')::bigint = $1", w.id(run, "a"))
	w.exec("update river.river_job set state = 'discarded', finalized_at = now() where (args ->> 'task')::bigint = $1", w.id(run, "b"))
	if n := found(); n != 2 {
		t.Errorf("found %d of 2", n)
	}
	if n := found(); n != 0 {
		t.Errorf("found %d again", n)
	}
	w.exec("truncate river.river_job")
	must[db.Task](t)(w.decide(w.id(run, "a"), true, "", ""))
	must[db.Task](t)(w.q.TaskAbort(w.ctx(), db.TaskAbortParams{Task: w.id(run, "b"), Actor: "t"}))
	if n := found(); n != 0 {
		t.Errorf("found %d that are decided or over", n)
	}
}

// Eight decide one task, and somebody aborts it: it is decided once or not at all.
func TestDecideRacesAbort(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(8)
	plan := w.planWith("steps: [{sh: a}]", func(p *pipeline.Plan) { later(&p.Stages[0].Tasks[0]) })
	for range 40 {
		run := w.runPlan(plan)
		task := int64(w.count("select id from tasks where run_id = $1", run))
		contend(t, 8, func(i int) error {
			if i == 7 {
				_, err := w.q.TaskAbort(context.Background(), db.TaskAbortParams{Task: task, Actor: "t"})
				return err
			}
			_, err := w.decide(task, i%2 == 0, fmt.Sprint("r", i), "")
			return err
		})
		decided := w.count("select count(*) from events where task_id = $1 and kind = 'task.decided'", task)
		ends := w.count("select count(*) from events where task_id = $1 and kind = 'task.completed'", task)
		if decided > 1 || ends != 1 || w.task(task).FinishedAt == nil {
			t.Fatalf("decided %d times, ended %d times, the task is %s", decided, ends, w.task(task).State)
		}
	}
}
