package transitions_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
)

// Every transition that changes a run waits for the run's lock. While somebody holds it, they time out.
func TestRunLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	w.run("steps: [{sh: a}]")
	l := w.leaseOne(agent)
	must[int32](t)(w.append(l, 0, "x\n"))
	lease := fmt.Sprintf("'%s'", l.ID)
	holder := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
	defer holder.Rollback(w.ctx())
	if _, err := holder.Exec(w.ctx(), "select otto.lock_run($1)", l.RunID); err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{
		"otto.run_plan(%[1]d, 'x', null, 't')", "otto.run_fail(%[1]d, 'r', null, 't')", "otto.run_abort(%[1]d, 't')",
		"otto.task_finish(%[3]s, 1, %[4]d, null, 0, null, '[]', '{}', 't')", "otto.task_interrupt(%[3]s, 1, 'expired', 't')", "otto.task_release(%[3]s, 1, %[4]d, null, null, 't')",
		"otto.task_abort(%[2]d, 't')", "otto.task_quarantine(%[2]d, 't', 'r')", "otto.task_decide(%[2]d, true, null, null, 't')", "otto.task_fail(%[2]d, 'r', 't')",
		"otto.task_supersede(%[2]d, 1, 't')", "otto.run_repair(%[1]d, 't')", "otto.task_starve(%[2]d, 't')",
	} {
		call = fmt.Sprintf(strings.NewReplacer("%[1]d", "%[1]v", "%[2]d", "%[2]v", "%[4]d", "%[4]v", "%[3]s", "%[3]v").Replace(call), l.RunID, l.TaskID, lease, agent)
		_, err := w.db.Owner.Exec(w.ctx(), "begin; set local lock_timeout = '20ms'; select "+call+"; commit")
		if err == nil || !strings.Contains(err.Error(), "55P03") {
			t.Errorf("%s did not wait for the run's lock: %v", call, err)
		}
	}
}

// What a transition does inside leaves final things as they are, and says nothing.
func TestInternalsKeepWhatIsFinal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	run := w.runPlan(w.planWith("stages: [{stage: a, mode: linear, tasks: [{task: a, steps: [{sh: a}]}, {task: b, steps: [{sh: b}]}]}, {stage: c, steps: [{sh: c}]}]",
		change(tasks{"b": needs("a"), "c": both(needs("b"), group(1, pipeline.ConflictWait))})))
	w.work(agent, nil)
	before, events := w.states(run), w.count("select count(*) from events")
	for _, call := range []string{
		"otto.stages_start(array[row(s.run_id, true, s.id, s.index, 't')::otto.crossing])",
		"otto.tasks_open(array[row(s.run_id, true, s.id, s.index, 't')::otto.crossing])",
		"otto.stages_follow(array[row(s.run_id, true, s.id, s.index, 't')::otto.crossing])",
		"otto.stages_settle(array[row(s.id, 0, 4, false, 't')::otto.settled])",
		"otto.stages_pass(array[row(s.run_id, false, null, null, 't')::otto.crossing])", "otto.runs_advance(array[row(s.run_id, 't')::otto.act])",
		"otto.tasks_ready(array(select row(id, 't')::otto.act from tasks where run_id = s.run_id))",
		"otto.tasks_skip(array(select row(id, 't')::otto.act from tasks where run_id = s.run_id))",
		"otto.tasks_end(array(select row(id, 'failed', 1, 'r', false, 't')::otto.ending from tasks where run_id = s.run_id))",
		"otto.tasks_again(array(select row(id, null, 1, 'r', false, 't')::otto.ending from tasks where run_id = s.run_id), 'task.interrupted')",
		"otto.steps_record(array(select row(t.lease_id, t.epoch, null, null, 1, 'r', '[{\"index\": 0, \"state\": \"failed\"}]', null, 't', t.run_id, t.stage_id, t.id, false, null, null)::otto.report from tasks t where run_id = s.run_id), true)",
		"otto.tasks_abort(s.run_id, null, true, 'r', 't')",
		"otto.tasks_begin(array(select row(id, 't')::otto.act from tasks where run_id = s.run_id))",
		"otto.groups_enter(array(select row(id, 't')::otto.act from tasks where run_id = s.run_id))",
		"otto.groups_skip(array(select row(id, 't')::otto.act from tasks where run_id = s.run_id))",
		"otto.tasks_settle('{}', array(select row(id, false, 't')::otto.final from tasks where run_id = s.run_id))",
	} {
		w.exec(fmt.Sprintf("begin; set local search_path = public, otto; select otto.emit(%s) from stages s where s.run_id = %d and s.index = 0; commit", call, run))
		if after := w.states(run); after != before || w.count("select count(*) from events") != events {
			t.Fatalf("%s changed %s to %s", call, before, after)
		}
	}
	w.exec(fmt.Sprintf("select otto.run_repair(%d, 't')", run))
	if after := w.states(run); after != before || w.count("select count(*) from events") != events {
		t.Fatalf("run_repair changed %s to %s", before, after)
	}
}

// Reports carry lease, epoch and holder, and all three must fit, whatever the report is.
func TestEveryReportIsFenced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := w.agent(`{}`), w.agent(`{}`)
	reports := map[string]func(l held) error{
		"start": func(l held) error { _, err := w.tryStart(l); return err },
		"release": func(l held) error {
			_, err := w.q.TaskRelease(w.ctx(), db.TaskReleaseParams{Lease: l.ID, Epoch: l.Epoch, Agent: l.AgentID, Actor: "t"})
			return err
		},
		"finish": func(l held) error { _, err := w.tryFinish(l, "succeeded"); return err },
		"log":    func(l held) error { _, err := w.append(l, 0, "x\n"); return err },
		"steps": func(l held) error {
			_, err := w.q.StepReport(w.ctx(), db.StepReportParams{Lease: l.ID, Epoch: l.Epoch, Agent: l.AgentID, Steps: json.RawMessage(`[]`), Actor: "t"})
			return err
		},
	}
	check := func(state string, l held) {
		t.Helper()
		w.judgeSoon()
		stranger, old, unknown := l, l, l
		stranger.AgentID, old.Epoch, unknown.ID = two, l.Epoch+1, uuid.New()
		for name, report := range reports {
			if r, ok := db.AsRefusal(report(stranger)); !ok || r.Code != db.Forbidden {
				t.Errorf("%s: %s by another agent: %v", state, name, r)
			}
			if r, ok := db.AsRefusal(report(old)); !ok || r.Code != db.Conflict || !r.Fenced {
				t.Errorf("%s: %s with another epoch: %v", state, name, r)
			}
			if r, ok := db.AsRefusal(report(unknown)); !ok || r.Code != db.NotFound {
				t.Errorf("%s: %s of an unknown lease: %v", state, name, r)
			}
		}
		_, err := w.q.TaskInterrupt(w.ctx(), db.TaskInterruptParams{Lease: l.ID, Epoch: l.Epoch + 1, Why: "expired", Actor: "t"})
		wantRefusal(t, err, db.Conflict, "cannot interrupt")
	}
	w.run("steps: [{sh: a}]")
	l := w.lease(one, 1)[0]
	check("scheduled", l)
	w.start(l)
	check("running", l)
	must[int32](t)(w.append(l, 0, "x\n"))
	w.finishWithLog(l, 1, 2)
	check("finished", l)

	w.run("steps: [{sh: b}]")
	l = w.leaseOne(one)
	w.exec("update leases set expires_at = otto.clock() - interval '1 second' where id = $1", l.ID)
	check("expired", l)
	must[db.Task](t)(w.q.TaskRelease(w.ctx(), db.TaskReleaseParams{Lease: l.ID, Epoch: l.Epoch, Agent: one, Actor: "t"}))
	check("released", l)
}

// A report of steps that comes late or again changes nothing, and an attempt never touches the steps of another.
func TestStepReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	w.run("stages: [{stage: a, retries: 1, steps: [{sh: a}, {sh: b}, {sh: c}]}]")
	report := func(l held, steps string) {
		t.Helper()
		must[db.Task](t)(w.q.StepReport(w.ctx(), db.StepReportParams{Lease: l.ID, Epoch: l.Epoch, Agent: agent, Steps: json.RawMessage(steps), Actor: "t"}))
	}
	first := w.leaseOne(agent)
	report(first, `[{"index": 0, "state": "failed", "exit_code": 1}, {"index": 1, "state": "skipped"}]`)
	report(first, `[{"index": 0, "state": "succeeded", "exit_code": 0}, {"index": 1, "state": "running"}]`)
	w.finish(first, "failed")
	w.exec("update steps set state = 'waiting', finished_at = null where epoch = 1 and index = 2") // as no transition leaves it

	second := w.leaseOne(agent)
	report(second, `[{"index": 0, "state": "succeeded", "exit_code": 0}, {"index": 1, "state": "running"}, {"index": 2, "state": "running"}]`)
	report(second, `[{"index": 2, "state": "succeeded"}]`)
	report(second, `[{"index": 1, "state": "waiting"}, {"index": 2, "state": "waiting"}]`)
	var got []string
	for _, s := range must[[]db.Step](t)(w.q.StepsOfTask(w.ctx(), first.TaskID)) {
		got = append(got, fmt.Sprint(s.Epoch, ".", s.Index, " ", s.State))
	}
	if want := "1.0 failed, 1.1 skipped, 1.2 waiting, 2.0 succeeded, 2.1 running, 2.2 succeeded"; strings.Join(got, ", ") != want {
		t.Errorf("got %s\nwant %s", strings.Join(got, ", "), want)
	}
	kinds := w.count("select count(*) from events where kind = 'step.started' and epoch = 1")*10 + w.count("select count(*) from events where kind = 'step.started' and epoch = 2")
	if kinds != 13 {
		t.Errorf("steps started: %d in attempt 1, %d in attempt 2; want 1 and 3", kinds/10, kinds%10)
	}
}

// An abort of one task that meets its start waits for it, and then tells the agent.
func TestAbortWaitsForStart(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"task_abort", "task_quarantine"} {
		w := newWorld(t)
		w.run("steps: [{sh: a}]")
		l := w.lease(w.agent(`{}`), 1)[0]
		starting := must[pgx.Tx](t)(w.db.App.Begin(w.ctx()))
		defer starting.Rollback(w.ctx())
		must[db.Task](t)(db.New(starting).TaskStart(w.ctx(), db.TaskStartParams{Lease: l.ID, Epoch: 1, Agent: l.AgentID, Steps: json.RawMessage(`[]`), Actor: "t"}))
		done := make(chan error)
		go func() {
			_, err := w.db.Owner.Exec(context.Background(), fmt.Sprintf("select otto.%s(%d, 't', 'r')", verb, l.TaskID))
			done <- err
		}()
		w.untilBlocked()
		if err := starting.Commit(w.ctx()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"task_abort": "running", "task_quarantine": "quarantined"}[verb]
		if got := w.task(l.TaskID); got.State != want {
			t.Errorf("after %s the task is %s, want %s", verb, got.State, want)
		}
		if n := w.count("select count(*) from leases where abort_at is not null"); verb == "task_abort" && n != 1 {
			t.Error("the agent is not told")
		}
	}
}

// untilBlocked waits until somebody in this database waits for a lock.
func (w *world) untilBlocked() {
	w.t.Helper()
	for began := time.Now(); w.count("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'") == 0; {
		if time.Since(began) > 20*time.Second {
			w.t.Fatal("nobody waits for a lock")
		}
	}
}

// What is marked always runs also inside a stage that is not, whether the run failed before it or was aborted.
func TestAlwaysTasks(t *testing.T) {
	t.Parallel()
	const ottofile = `stages:
  - {stage: a, steps: [{sh: a}]}
  - {stage: b, mode: %s, tasks: [{task: b1, steps: [{sh: b}]}, {task: b2, always: true, steps: [{sh: b}]}, {task: b3, steps: [{sh: b}]}]}
  - {stage: c, steps: [{sh: c}]}`
	for _, mode := range []string{"linear", "parallel", "fanout"} {
		w := newWorld(t)
		agent := w.agent(`{}`)
		failed := w.run(fmt.Sprintf(ottofile, mode))
		w.work(agent, map[string]string{"a": "failed"})
		w.want(failed, "failed: failed[a=failed] succeeded[b1=skipped b2=succeeded b3=skipped] skipped[c=skipped]")

		aborted := w.run(fmt.Sprintf(ottofile, mode))
		l := w.leaseOne(agent)
		must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: aborted, Actor: "t"}))
		w.want(aborted, "aborting: running[a=running] waiting[b1=aborted b2=waiting b3=aborted] aborted[c=aborted]")
		w.finish(l, "succeeded")
		w.work(agent, nil)
		w.want(aborted, "aborted: succeeded[a=succeeded] aborted[b1=aborted b2=succeeded b3=aborted] aborted[c=aborted]")
	}
}

// Two who make the same thing at once get one.
func TestSameThingTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(8)
	plan := w.plan("steps: [{sh: a}]")
	contend(t, 8, func(int) error {
		_, err := w.q.RunCreate(context.Background(), db.RunCreateParams{Project: "new", Plan: &plan, Actor: "t"})
		return err
	})
	body := json.RawMessage(`{"stages": []}`)
	digest := "sha256:" + strings.Repeat("a", 64)
	contend(t, 8, func(int) error {
		_, err := w.q.PlanStore(context.Background(), db.PlanStoreParams{Digest: digest, Body: body})
		return err
	})
	contend(t, 8, func(int) error {
		_, err := w.q.SourceStore(context.Background(), db.SourceStoreParams{Digest: digest, Bytes: 1, Actor: "t"})
		return err
	})
	if n := w.count("select count(*) from projects") + w.count("select count(*) from plans") + w.count("select count(*) from sources"); n != 1+2+1 {
		t.Errorf("%d rows", n)
	}
	var first, again db.Idempotency
	if err := pgx.BeginFunc(w.ctx(), w.db.App, func(tx pgx.Tx) (err error) {
		first, err = db.New(tx).RequestBegin(w.ctx(), db.RequestBeginParams{Principal: "p", Key: "k", Request: []byte("r")})
		if err == nil {
			err = db.New(tx).RequestEnd(w.ctx(), db.RequestEndParams{Principal: "p", Key: "k", Status: 201, Answer: []byte("a")})
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	again = must[db.Idempotency](t)(w.q.RequestBegin(w.ctx(), db.RequestBeginParams{Principal: "p", Key: "k", Request: []byte("r")}))
	if first.Status != nil || again.Status == nil || *again.Status != 201 {
		t.Errorf("first %v, again %v", first.Status, again.Status)
	}
}

// An attempt that ends leaves no step open, whatever its agent says of it, and says why to those that were cut off.
func TestStepsLeftOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	w.run("stages: [{stage: a, steps: [{sh: a}, {sh: b}, {sh: c}, {sh: d}]}]")
	l := w.leaseOne(agent)
	outcome, reason := "failed", "timeout"
	task := must[db.Task](t)(w.q.TaskFinish(w.ctx(), db.TaskFinishParams{
		Lease: l.ID, Epoch: l.Epoch, Agent: agent, Outcome: &outcome, Reason: &reason, Actor: "agent",
		Steps: json.RawMessage(`[{"index": 0, "state": "running"}, {"index": 1, "state": "running"}, {"index": 2, "state": "failed", "reason": "own"}]`),
		Log:   json.RawMessage(`{"chunks": 0, "bytes": 0}`),
	}))
	var got []string
	for _, s := range must[[]db.Step](t)(w.q.StepsOfTask(w.ctx(), task.ID)) {
		why := "-"
		if s.Reason != nil {
			why = *s.Reason
		}
		got = append(got, fmt.Sprint(s.State, " ", why, " ", s.StartedAt != nil))
	}
	if want := []string{"aborted timeout true", "aborted timeout true", "failed own true", "skipped - false"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := w.count("select count(*) from events where kind = 'step.started'"); n != 3 {
		t.Errorf("%d steps started, want 3", n)
	}
}

// A task that may fail, and fails while it is being stopped, is forgiven like any other: only an abort is not a failure.
func TestFailureUnderAbortIsForgiven(t *testing.T) {
	t.Parallel()
	for outcome, want := range map[string]string{
		"failed": "succeeded: succeeded[a=failed] succeeded[b=succeeded]", "aborted": "aborted: aborted[a=aborted] skipped[b=skipped]",
	} {
		w := newWorld(t)
		agent := w.agent(`{}`)
		run := w.run("stages: [{stage: a, allow_failure: true, steps: [{sh: a}]}, {stage: b, steps: [{sh: b}]}]")
		l := w.leaseOne(agent)
		must[db.Task](t)(w.q.TaskAbort(w.ctx(), db.TaskAbortParams{Task: l.TaskID, Actor: "ana"}))
		w.finish(l, outcome)
		w.work(agent, nil)
		w.want(run, want)
	}
}
