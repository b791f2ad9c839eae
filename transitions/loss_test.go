package transitions_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
)

func (w *world) hello(agent int64) error {
	_, err := w.q.AgentHello(w.ctx(), db.AgentHelloParams{Agent: agent, Name: "a", Capacity: 9, Offers: json.RawMessage(`{}`), Actor: "t"})
	return err
}

// An agent that comes back loses all its leases, though losing one of a fanout ends another.
func TestHelloWithFanout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	run := w.run("stages: [{fanout: [{task: a, on_lost: fail, steps: [{sh: a}]}, {task: b, on_lost: fail, steps: [{sh: b}]}]}]")
	w.start(w.lease(agent, 2)[0])
	if err := w.hello(agent); err != nil {
		t.Fatal(err)
	}
	w.want(run, "failed: failed[a=failed b=aborted]")
}

// What follows from another transaction comes after it in the stream, whatever the transactions' ids: here the later one
// has the lower id, because it wrote something else first.
func TestEventsFollowTheirCause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	run := w.run(parallel)
	l := w.leaseOne(agent)
	late := must[pgx.Tx](t)(w.db.App.Begin(w.ctx()))
	defer late.Rollback(w.ctx())
	q := db.New(late)
	must[db.Idempotency](t)(q.RequestBegin(w.ctx(), db.RequestBeginParams{Principal: "p", Key: "k", Request: []byte("r")}))
	w.finish(l, "succeeded")
	must[db.Run](t)(q.RunAbort(w.ctx(), db.RunAbortParams{Run: run, Actor: "t"}))
	if err := late.Commit(w.ctx()); err != nil {
		t.Fatal(err)
	}
	kinds := w.kinds(run)
	if slices.Index(kinds, "task.succeeded") > slices.Index(kinds, "run.aborting") || kinds[len(kinds)-1] != "run.completed" {
		t.Errorf("events: %v", kinds)
	}
}

// A task of a stage that has not started is aborted: the run goes on as far as it can, and ends.
func TestAbortAhead(t *testing.T) {
	t.Parallel()
	const ahead = `stages:
  - {stage: s1, mode: linear, tasks: [{task: a, steps: [{sh: a}]}, {task: b, steps: [{sh: b}]}]}
  - {stage: s2, mode: %s, tasks: [{task: c, steps: [{sh: c}]}, {task: d, steps: [{sh: d}]}]}
  - {stage: s3, steps: [{sh: e}]}`
	abort := func(w *world, run int64, name string) {
		for _, row := range must[[]db.TasksOfRunRow](t)(w.q.TasksOfRun(w.ctx(), run)) {
			if row.Task.Name == name {
				must[db.Task](t)(w.q.TaskAbort(w.ctx(), db.TaskAbortParams{Task: row.Task.ID, Actor: "ana"}))
			}
		}
	}
	for mode, want := range map[string]string{
		"linear":   "aborted: succeeded[a=succeeded b=succeeded] aborted[c=aborted d=skipped] skipped[s3=skipped]",
		"parallel": "aborted: succeeded[a=succeeded b=succeeded] aborted[c=aborted d=succeeded] skipped[s3=skipped]",
	} {
		w := newWorld(t)
		agent := w.agent(`{}`)
		run := w.run(strings.Replace(ahead, "%s", mode, 1))
		abort(w, run, "c")
		w.work(agent, nil)
		w.want(run, want)

		whole := w.run(strings.Replace(ahead, "%s", mode, 1))
		abort(w, whole, "s3")
		w.work(agent, nil)
		w.want(whole, "aborted: succeeded[a=succeeded b=succeeded] succeeded[c=succeeded d=succeeded] aborted[s3=aborted]")
	}
}

// However an agent is lost, on_lost and retries hold, and handing a task back is no way around them.
func TestLossIsLoss(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(w *world, l held) error{
		"hello":   func(w *world, l held) error { return w.hello(l.AgentID) },
		"expired": func(w *world, l held) error { w.expire(l); return nil },
		"released": func(w *world, l held) error {
			_, err := w.q.TaskRelease(w.ctx(), db.TaskReleaseParams{Lease: l.ID, Epoch: l.Epoch, Agent: l.AgentID, Actor: "t"})
			return err
		},
	} {
		for on, want := range map[string]string{"failed": "failed", "lost": "ready"} {
			w := newWorld(t)
			w.run("stages: [{stage: a, on_lost: fail, retries: {limit: 1, on: [" + on + "]}, steps: [{sh: a}]}]")
			l := w.leaseOne(w.agent(`{}`))
			if err := lose(w, l); err != nil {
				t.Fatal(err)
			}
			if got := w.task(l.TaskID); got.State != want {
				t.Errorf("lost by %s, retries on %s: %s, want %s", name, on, got.State, want)
			}
		}
	}
}

// A reaper that meets a start waits for it, and then sees that the lease was started after all.
func TestReaperWaitsForStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run("stages: [{stage: a, on_lost: fail, steps: [{sh: a}]}]")
	l := w.lease(w.agent(`{}`), 1)[0]
	w.exec("update leases set start_by = otto.clock() - interval '1 second'")
	starting := must[pgx.Tx](t)(w.db.App.Begin(w.ctx()))
	defer starting.Rollback(w.ctx())
	must[db.Task](t)(db.New(starting).TaskStart(w.ctx(), db.TaskStartParams{Lease: l.ID, Epoch: 1, Agent: l.AgentID, Steps: json.RawMessage(`[]`), Actor: "t"}))
	done := make(chan error)
	go func() {
		_, err := w.q.TaskInterrupt(context.Background(), db.TaskInterruptParams{Lease: l.ID, Epoch: 1, Why: "not_started", Actor: "reaper"})
		done <- err
	}()
	w.untilBlocked()
	if err := starting.Commit(w.ctx()); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, <-done, db.Conflict, "cannot interrupt")
	if got := w.task(l.TaskID).State; got != "running" {
		t.Errorf("the task is %s", got)
	}
}

// A log is given up for silence, not for its length, and not for an outage of the servers.
func TestSlowLogIsNotGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run("steps: [{sh: a}]")
	l := w.leaseOne(w.agent(`{}`))
	w.finishWithLog(l, 4, 8)
	for seq := range 3 {
		dbtest.AdvanceClock(t, w.db, 6*time.Minute)
		w.judgeSoon()
		must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t"))
		must[int32](t)(w.append(l, seq, "x\n"))
	}
	dbtest.AdvanceClock(t, w.db, time.Hour) // nobody serves
	must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t"))
	w.beat()
	must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t"))
	must[int32](t)(w.append(l, 3, "x\n"))
}

// Of the agents that a claim names, only those that are online and offer the same get tasks.
func TestSlotsOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gpu, plain, off := w.agent(`{"gpu": true}`), w.agent(`{}`), w.agent(`{"gpu": true}`)
	must[db.Agent](t)(w.q.AgentDisable(w.ctx(), db.AgentDisableParams{Agent: off, Disabled: true, Actor: "t"}))
	w.run("stages: [{parallel: [{task: a, requires: {gpu: true}, steps: [{sh: a}]}, {task: b, requires: {gpu: true}, steps: [{sh: b}]}]}]")
	for range 2 {
		ls := must[[]db.Lease](t)(w.q.TaskLease(w.ctx(), db.TaskLeaseParams{Slots: []int64{off, gpu, plain}, Actor: "t"}))
		if len(ls) != 1 || ls[0].AgentID != gpu {
			t.Errorf("leases: %+v", ls)
		}
	}
}

// Agents that are silent for long are offline, once; one that is heard of just then is not, and one that is disabled stays so.
func TestSilentAgents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	silent, heard, draining, disabled, off := w.agent(`{}`), w.agent(`{}`), w.agent(`{}`), w.agent(`{}`), w.agent(`{}`)
	w.exec("update agents set state = case id when $1 then 'draining' when $2 then 'offline' else 'online' end", draining, off)
	w.later(10 * time.Minute)
	w.agent(`{}`) // nobody's silence but its own counts
	w.judgeSoon()
	beating := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
	defer beating.Rollback(w.ctx())
	must[any](t)(beating.Exec(w.ctx(), "select otto.lease_renew($1, '{}', false)", heard))
	must[any](t)(beating.Exec(w.ctx(), "select otto.agent_disable($1, true, 't')", disabled))
	done := make(chan error, 1)
	go func() {
		_, err := w.db.Owner.Exec(context.Background(), "select otto.run_reconcile('t')")
		done <- err
	}()
	w.untilBlocked()
	if err := beating.Commit(w.ctx()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t"))
	if got := w.text("select string_agg(state, ' ' order by id) from agents"); got != "offline online offline disabled offline online" {
		t.Error(got)
	}
	gone := must[[]int64](t)(idsOf(w, "select (data ->> 'agent')::bigint from events where data ->> 'reason' = 'silent' order by 1"))
	if fmt.Sprint(gone) != fmt.Sprint([]int64{silent, draining}) {
		t.Errorf("silent are %v", gone)
	}
}
