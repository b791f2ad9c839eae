package transitions_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ottoci/otto/db"
)

const (
	three    = "stages: [{stage: a, steps: [{sh: a}]}, {stage: b, steps: [{sh: b}]}, {stage: c, steps: [{sh: c}]}]"
	parallel = "stages: [{parallel: [{task: a, steps: [{sh: a}]}, {task: b, steps: [{sh: b}]}]}, {stage: c, steps: [{sh: c}]}]"
	fanout   = "stages: [{fanout: [{task: a, steps: [{sh: a}]}, {task: b, steps: [{sh: b}]}]}, {stage: c, steps: [{sh: c}]}]"
	cleanup  = three + "\nalways: [{stage: z, steps: [{sh: z}]}]"
)

// Outcomes of tasks, and what becomes of the run.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ottofile string
		outcomes map[string]string
		want     string
	}{
		"green":                {three, nil, "succeeded: succeeded[a=succeeded] succeeded[b=succeeded] succeeded[c=succeeded]"},
		"linear_stops":         {three, map[string]string{"b": "failed"}, "failed: succeeded[a=succeeded] failed[b=failed] skipped[c=skipped]"},
		"aborted_stops":        {three, map[string]string{"a": "aborted"}, "aborted: aborted[a=aborted] skipped[b=skipped] skipped[c=skipped]"},
		"unstable_goes_on":     {three, map[string]string{"a": "unstable"}, "unstable: unstable[a=unstable] succeeded[b=succeeded] succeeded[c=succeeded]"},
		"parallel_independent": {parallel, map[string]string{"a": "failed"}, "failed: failed[a=failed b=succeeded] skipped[c=skipped]"},
		"parallel_worst":       {parallel, map[string]string{"a": "aborted", "b": "unstable"}, "aborted: aborted[a=aborted b=unstable] skipped[c=skipped]"},
		"fanout_aborts":        {fanout, map[string]string{"a": "failed"}, "failed: failed[a=failed b=aborted] skipped[c=skipped]"},
		"fanout_own_abort":     {fanout, map[string]string{"a": "aborted"}, "aborted: aborted[a=aborted b=aborted] skipped[c=skipped]"},
		"fanout_unstable":      {fanout, map[string]string{"a": "unstable"}, "unstable: unstable[a=unstable b=succeeded] succeeded[c=succeeded]"},
		"always_after_failure": {cleanup, map[string]string{"a": "failed"}, "failed: failed[a=failed] skipped[b=skipped] skipped[c=skipped] succeeded[z=succeeded]"},
		"always_can_worsen":    {cleanup, map[string]string{"z": "failed"}, "failed: succeeded[a=succeeded] succeeded[b=succeeded] succeeded[c=succeeded] failed[z=failed]"},
		"empty":                {"stages: []", nil, "succeeded:"},
		"forgiven": {strings.Replace(three, "stage: a,", "stage: a, allow_failure: true,", 1), map[string]string{"a": "failed"},
			"succeeded: succeeded[a=failed] succeeded[b=succeeded] succeeded[c=succeeded]"},
		"fanout_forgives": {strings.Replace(fanout, "task: a,", "task: a, allow_failure: true,", 1), map[string]string{"a": "failed"},
			"succeeded: succeeded[a=failed b=succeeded] succeeded[c=succeeded]"},
		"linear_tasks": {"stages: [{stage: s, mode: linear, tasks: [{task: a, steps: [{sh: a}]}, {task: b, steps: [{sh: b}]}, {task: c, always: true, steps: [{sh: c}]}]}]",
			map[string]string{"a": "failed"}, "failed: failed[a=failed b=skipped c=succeeded]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			agent := w.agent(`{}`)
			run := w.run(c.ottofile)
			w.work(agent, c.outcomes)
			w.want(run, c.want)
			if warned := w.runRow(run).Warnings; warned != strings.Contains(name, "forgive") {
				t.Errorf("warnings = %v", warned)
			}
		})
	}
}

// Scenario A-01: the events of a run of two stages, in order.
func TestEventOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	run := w.run("stages: [{stage: Build, steps: [{sh: a}]}, {stage: Test, steps: [{sh: b}]}]")
	w.work(agent, nil)
	stage := []string{"stage.started", "task.ready", "task.scheduled", "task.started", "step.started", "step.succeeded", "step.completed",
		"task.succeeded", "task.completed", "stage.succeeded", "stage.completed"}
	want := append([]string{"run.created", "run.planned", "run.started"}, append(append(stage, stage...), "run.succeeded", "run.completed")...)
	if d := cmp.Diff(want, w.kinds(run)); d != "" {
		t.Error(d)
	}
}

func TestAbort(t *testing.T) {
	t.Parallel()
	abort := func(w *world, run int64) {
		w.t.Helper()
		reason := "because"
		must[db.Run](w.t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run, Actor: "ana", Reason: &reason}))
	}
	t.Run("before_anything_started", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		run := w.run(parallel)
		abort(w, run)
		w.want(run, "aborted: aborted[a=aborted b=aborted] aborted[c=aborted]")
		if got := w.runRow(run).Reason; got == nil || *got != "because" {
			t.Errorf("reason = %v", got)
		}
	})
	t.Run("scheduled_stops_at_once", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		run := w.run(three)
		l := w.lease(w.agent(`{}`), 1)[0]
		abort(w, run)
		w.want(run, "aborted: aborted[a=aborted] aborted[b=aborted] aborted[c=aborted]")
		_, err := w.tryStart(l)
		wantRefusal(t, err, db.Conflict, "is over (aborted): cannot start")
	})
	t.Run("running_waits_for_its_agent", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		run := w.run(three)
		l := w.leaseOne(w.agent(`{}`))
		abort(w, run)
		w.want(run, "aborting: running[a=running] aborted[b=aborted] aborted[c=aborted]")
		orders := must[[]db.LeaseAbortsRow](t)(w.q.LeaseAborts(w.ctx(), []int64{l.AgentID}))
		if len(orders) != 1 || orders[0].ID != l.ID || orders[0].Level != "abort" || orders[0].Reason != "because" {
			t.Errorf("orders = %+v", orders)
		}
		w.finish(l, "aborted")
		w.want(run, "aborted: aborted[a=aborted] aborted[b=aborted] aborted[c=aborted]")
	})
	t.Run("a_result_that_comes_first_counts", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		run := w.run("steps: [{sh: a}]")
		l := w.leaseOne(w.agent(`{}`))
		abort(w, run)
		w.finish(l, "succeeded")
		if got := w.runRow(run).State; got != "succeeded" {
			t.Errorf("an abort that cut nothing short changed the result to %s", got)
		}
	})
	t.Run("always_runs_and_a_second_abort_stops_it", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		agent := w.agent(`{}`)
		run := w.run(cleanup)
		abort(w, run)
		w.want(run, "aborting: aborted[a=aborted] aborted[b=aborted] aborted[c=aborted] running[z=ready]")
		w.work(agent, nil)
		w.want(run, "aborted: aborted[a=aborted] aborted[b=aborted] aborted[c=aborted] succeeded[z=succeeded]")

		again := w.run(cleanup)
		abort(w, again)
		l := w.leaseOne(agent)
		abort(w, again)
		abort(w, again)
		if o := must[[]db.LeaseAbortsRow](t)(w.q.LeaseAborts(w.ctx(), []int64{agent})); len(o) != 1 || o[0].Level != "kill" {
			t.Errorf("orders = %+v", o)
		}
		w.finish(l, "aborted")
		w.want(again, "aborted: aborted[a=aborted] aborted[b=aborted] aborted[c=aborted] aborted[z=aborted]")
	})
	t.Run("final_is_refused", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		run := w.run("stages: []")
		_, err := w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run, Actor: "ana"})
		wantRefusal(t, err, db.Conflict, "is succeeded: cannot abort")
		_, err = w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run + 1, Actor: "ana"})
		wantRefusal(t, err, db.NotFound, "does not exist")
	})
	t.Run("one_task", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		agent := w.agent(`{}`)
		run := w.run(parallel)
		l := w.leaseOne(agent)
		must[db.Task](t)(w.q.TaskAbort(w.ctx(), db.TaskAbortParams{Task: l.TaskID + 1, Actor: "ana"}))
		w.want(run, "running: running[a=running b=aborted] waiting[c=waiting]")
		w.finish(l, "succeeded")
		w.want(run, "aborted: aborted[a=succeeded b=aborted] skipped[c=skipped]")
	})
}

func TestRerun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	run := w.run("steps: [{sh: a}]")
	_, err := w.q.RunRerun(w.ctx(), db.RunRerunParams{Run: run, Actor: "ana"})
	wantRefusal(t, err, db.Conflict, "is running: cannot rerun")
	w.work(agent, map[string]string{"a": "failed"})
	again := must[db.Run](t)(w.q.RunRerun(w.ctx(), db.RunRerunParams{Run: run, Actor: "ana"}))
	w.work(agent, nil)
	row := w.runRow(again.ID)
	if row.State != "succeeded" || row.RerunOf == nil || *row.RerunOf != run || *row.PlanDigest != *w.runRow(run).PlanDigest {
		t.Errorf("rerun = %+v", row)
	}
}

// A first stage without tasks does not start: it is passed over, and the run begins with the next.
func TestFirstStageWithoutTasks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	digest := "sha256:" + fmt.Sprintf("%064d", 7)
	must[db.Plan](t)(w.q.PlanStore(w.ctx(), db.PlanStoreParams{Digest: digest, Body: json.RawMessage(`{"stages": [
		{"name": "a", "mode": "parallel", "tasks": []}, {"name": "b", "mode": "linear", "tasks": [{"name": "b", "timeout_ms": 1000, "steps": [{"name": "b"}]}]}]}`)}))
	run := w.runPlan(digest)
	w.want(run, "running: succeeded[] running[b=ready]")
	want := []string{"run.created", "run.planned", "run.started", "stage.succeeded", "stage.completed", "stage.started", "task.ready"}
	if diff := cmp.Diff(want, w.kinds(run)); diff != "" {
		t.Error(diff)
	}
	w.work(w.agent(`{}`), nil)
	w.want(run, "succeeded: succeeded[] succeeded[b=succeeded]")
}
