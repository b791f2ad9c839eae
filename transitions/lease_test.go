package transitions_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
)

func TestFencing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := w.agent(`{}`), w.agent(`{}`)
	w.run("steps: [{sh: a}]")
	l := w.leaseOne(one)

	t.Run("another_agents_lease", func(t *testing.T) {
		stolen := l
		stolen.AgentID = two
		_, err := w.tryFinish(stolen, "succeeded")
		wantRefusal(t, err, db.Forbidden, "belongs to another agent: cannot finish")
	})
	t.Run("an_old_epoch", func(t *testing.T) {
		old := l
		old.Epoch = 7
		_, err := w.tryFinish(old, "succeeded")
		wantRefusal(t, err, db.Conflict, "attempt 7 of task")
		if r, _ := db.AsRefusal(err); r == nil || !r.Fenced {
			t.Error("not marked as fenced")
		}
	})
	t.Run("an_unknown_lease", func(t *testing.T) {
		unknown := l
		unknown.ID = uuid.New()
		_, err := w.tryFinish(unknown, "succeeded")
		wantRefusal(t, err, db.NotFound, "does not exist")
	})
	t.Run("repeating_changes_nothing", func(t *testing.T) {
		w.start(l)
		w.finish(l, "succeeded")
		before := w.count("select count(*) from events")
		w.finish(l, "failed")
		if got := w.task(l.TaskID).State; got != "succeeded" || w.count("select count(*) from events") != before {
			t.Errorf("a repeated result was taken: %s", got)
		}
	})
}

// Scenario A-27: an agent is lost; the task goes to another, at most three times.
func TestInterruption(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	run := w.run("steps: [{sh: a}]")
	for i := range 3 {
		l := w.leaseOne(agent)
		w.expire(l)
		if got := w.task(l.TaskID); got.State != "ready" || int(got.Interrupts) != i+1 {
			t.Fatalf("after loss %d: %s, %d interrupts", i+1, got.State, got.Interrupts)
		}
		_, err := w.tryFinish(l, "succeeded")
		wantRefusal(t, err, db.Conflict, "is over (interrupted): cannot finish")
	}
	l := w.leaseOne(agent)
	w.expire(l)
	if got := w.task(l.TaskID); got.State != "failed" || *got.Reason != "agent_lost" {
		t.Errorf("after loss 4: %s", got.State)
	}
	if n := len(must[[]db.AttemptsOfTaskRow](t)(w.q.AttemptsOfTask(w.ctx(), l.TaskID))); n != 4 {
		t.Errorf("%d attempts are kept, want 4", n)
	}
	w.want(run, "failed: failed[main=failed]")
}

func TestOnLostFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run("stages: [{stage: a, on_lost: fail, steps: [{sh: a}]}]")
	l := w.leaseOne(w.agent(`{}`))
	w.expire(l)
	if got := w.task(l.TaskID); got.State != "failed" || *got.Reason != "agent_lost" || got.Epoch != 1 {
		t.Errorf("%+v", got)
	}
}

// A lease that was never started is handed on without counting.
func TestNotStarted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run("stages: [{stage: a, on_lost: fail, steps: [{sh: a}]}]")
	l := w.lease(w.agent(`{}`), 1)[0]
	dbtest.AdvanceClock(t, w.db, 90*time.Second)
	w.judgeSoon()
	w.reap()
	if got := w.task(l.TaskID); got.State != "ready" || got.Interrupts != 0 {
		t.Errorf("%s, %d interrupts", got.State, got.Interrupts)
	}
	if _, err := w.tryStart(l); err == nil {
		t.Error("a revoked lease was started")
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	run := w.run("stages: [{stage: a, retries: {limit: 2, on: [failed], delay: 10s}, steps: [{sh: a}]}]")
	for range 2 {
		l := w.leaseOne(agent)
		w.finish(l, "failed")
		if ls := w.lease(agent, 1); len(ls) != 0 {
			t.Fatal("retried before its delay")
		}
		dbtest.AdvanceClock(t, w.db, 11*time.Second)
	}
	w.finish(w.leaseOne(agent), "failed")
	w.want(run, "failed: failed[a=failed]")
	if n := w.count("select count(*) from events where kind = 'task.retrying'"); n != 2 {
		t.Errorf("%d retries, want 2", n)
	}
	better := w.run("stages: [{stage: a, retries: {limit: 2, on: [failed]}, steps: [{sh: b}]}]")
	w.finish(w.leaseOne(agent), "failed")
	w.finish(w.leaseOne(agent), "succeeded") // the steps of the first attempt do not count
	w.want(better, "succeeded: succeeded[a=succeeded]")
	again := w.run("stages: [{stage: a, retries: {limit: 2, on: [failed]}, steps: [{sh: b}]}]")
	w.finish(w.leaseOne(agent), "unstable")
	w.want(again, "unstable: unstable[a=unstable]")
}

// After an outage of the servers nobody is judged for one full lease time.
func TestOutageIsNotLoss(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run("steps: [{sh: a}]")
	l := w.leaseOne(w.agent(`{}`))
	judged := func() int { return len(must[[]db.LeaseJudgeRow](t)(w.q.LeaseJudge(w.ctx(), 10))) }

	dbtest.AdvanceClock(t, w.db, 10*time.Minute)                // no server beats
	must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t")) // the workers are alive: they forget nobody
	if n := judged(); n != 0 {
		t.Errorf("%d leases judged while no server is alive", n)
	}
	w.beat()
	dbtest.AdvanceClock(t, w.db, 5*time.Second)
	w.beat()
	if n := judged(); n != 0 {
		t.Errorf("%d leases judged right after the outage", n)
	}
	must[[]db.Lease](t)(w.q.LeaseRenew(w.ctx(), db.LeaseRenewParams{Agent: l.AgentID, Held: []uuid.UUID{l.ID}}))
	for range 10 {
		dbtest.AdvanceClock(t, w.db, 3500*time.Millisecond)
		w.beat()
		if judged() > 0 {
			break
		}
	}
	if n := judged(); n != 1 {
		t.Errorf("an agent that stays silent after the outage is not judged: %d", n)
	}
}

// The reaper reads, pauses, and the lease is renewed meanwhile: it takes nothing away.
func TestLateReaper(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run("steps: [{sh: a}]")
	l := w.leaseOne(w.agent(`{}`))
	dbtest.AdvanceClock(t, w.db, 31*time.Second)
	w.judgeSoon()
	if n := len(must[[]db.LeaseJudgeRow](t)(w.q.LeaseJudge(w.ctx(), 10))); n != 1 {
		t.Fatalf("%d leases judged, want 1", n)
	}
	must[[]db.Lease](t)(w.q.LeaseRenew(w.ctx(), db.LeaseRenewParams{Agent: l.AgentID, Held: []uuid.UUID{l.ID}}))
	_, err := w.q.TaskInterrupt(w.ctx(), db.TaskInterruptParams{Lease: l.ID, Epoch: l.Epoch, Why: "expired", Actor: "reaper"})
	wantRefusal(t, err, db.Conflict, "cannot interrupt")
	if got := w.task(l.TaskID).State; got != "running" {
		t.Errorf("task is %s", got)
	}
}

func TestUnconfirmedAbort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := w.run("steps: [{sh: a}]")
	w.leaseOne(w.agent(`{}`))
	must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run, Actor: "ana"}))
	dbtest.AdvanceClock(t, w.db, 61*time.Second)
	w.judgeSoon()
	w.reap()
	if got := w.runRow(run); got.State != "aborted" {
		t.Errorf("run is %s", got.State)
	}
	if n := w.count("select count(*) from tasks where reason like '%(unconfirmed)'"); n != 1 {
		t.Error("the task does not say that nobody confirmed")
	}
}

func TestRequirements(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	small, big := w.agent(`{"os": "linux", "cores": 2, "tools": ["go", "git"]}`), w.agent(`{"os": "linux", "cores": 8, "gpu": true}`)
	for requires, fits := range map[string][2]bool{
		`{}`:                         {true, true},
		`{os: linux}`:                {true, true},
		`{os: windows}`:              {false, false},
		`{cores: 4}`:                 {false, true},
		`{tools: go}`:                {true, false},
		`{gpu: true, cores: 8}`:      {false, true},
		`{memory_gb: 1}`:             {false, false},
		`{os: linux, nothing: "no"}`: {false, false},
	} {
		run := w.run(fmt.Sprintf("stages: [{stage: %q, requires: %s, steps: [{sh: a}]}]", requires, requires))
		for i, agent := range []int64{small, big} {
			ls := w.lease(agent, 1)
			if (len(ls) == 1) != fits[i] {
				t.Errorf("requires %s: agent %d fits = %v", requires, i, len(ls) == 1)
			}
			for _, l := range ls {
				must[db.Task](t)(w.q.TaskRelease(w.ctx(), db.TaskReleaseParams{Lease: l.ID, Epoch: l.Epoch, Agent: l.AgentID, Actor: "t"}))
			}
		}
		must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run, Actor: "t"}))
	}
	run := w.run("stages: [{stage: a, requires: {os: plan9, cores: 4}, steps: [{sh: a}]}]")
	got := must[[]db.TasksOfRunRow](t)(w.q.TasksOfRun(w.ctx(), run))[0].WaitingFor
	if want := "an agent that offers cores>=4, os=plan9: none of the 2 that are online does, and no other has enrolled that could"; got != want {
		t.Errorf("waits for %q, want %q", got, want)
	}
}

func TestAgentLifecycle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	w.run("steps: [{sh: a}]")
	l := w.leaseOne(agent)
	hello := db.AgentHelloParams{Agent: agent, Name: "a", Capacity: 1, Offers: json.RawMessage(`{}`), Actor: "t"}
	must[db.Agent](t)(w.q.AgentHello(w.ctx(), hello))
	if got := w.task(l.TaskID); got.State != "ready" {
		t.Errorf("an agent that starts anew keeps the leases of its life before: %s", got.State)
	}
	w.leaseOne(agent)
	must[db.Agent](t)(w.q.AgentDisable(w.ctx(), db.AgentDisableParams{Agent: agent, Disabled: true, Actor: "t"}))
	if got := w.task(l.TaskID); got.State != "ready" {
		t.Errorf("a disabled agent keeps its task: %s", got.State)
	}
	_, err := w.q.AgentHello(w.ctx(), hello)
	wantRefusal(t, err, db.Conflict, "is disabled: cannot say hello")
}

// expire lets a lease run out, and the reaper see it.
func (w *world) expire(l held) {
	w.t.Helper()
	w.exec("update leases set expires_at = otto.clock() - interval '1 second' where id = $1", l.ID)
	w.judgeSoon()
	w.reap()
}

// judgeSoon makes the servers alive and lets the waiting time after an outage be over.
func (w *world) judgeSoon() {
	w.t.Helper()
	w.beat()
	w.exec("update cluster set judge_from = otto.clock() - interval '1 second'")
}

// reap does what the lease_expire job does.
func (w *world) reap() {
	w.t.Helper()
	for _, j := range must[[]db.LeaseJudgeRow](w.t)(w.q.LeaseJudge(w.ctx(), 100)) {
		must[db.Task](w.t)(w.q.TaskInterrupt(w.ctx(), db.TaskInterruptParams{Lease: j.Lease, Epoch: j.Epoch, Why: j.Why, Actor: "reaper"}))
	}
}

// Tasks that nobody can take do not hide those behind them, however many they are; and nobody gets one that he cannot take.
func TestLeaseLooksPastWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	linux, mac := w.agent(`{"os": "linux", "cores": 4}`), w.agent(`{"os": "mac"}`)
	other := w.plan("stages: [{stage: a, requires: {os: plan9}, steps: [{sh: a}]}]")
	for range 120 {
		w.runPlan(other)
	}
	lease := func(slots ...int64) []db.Lease {
		t.Helper()
		return must[[]db.Lease](t)(w.q.TaskLease(w.ctx(), db.TaskLeaseParams{Slots: slots, Actor: "t"}))
	}
	if got := lease(linux, mac); len(got) != 0 {
		t.Errorf("%d leases of tasks that fit nobody", len(got))
	}
	w.run("stages: [{stage: a, requires: {os: linux, cores: 2}, steps: [{sh: a}]}]")
	w.run("stages: [{stage: a, requires: {os: linux}, steps: [{sh: a}]}]")
	if got := lease(linux, mac); len(got) != 1 || got[0].AgentID != linux {
		t.Errorf("%+v", got)
	}
	if got := lease(mac, linux); len(got) != 0 {
		t.Errorf("a task that its agent cannot take: %+v", got)
	}
	w.run("steps: [{sh: a}]")
	if got := lease(mac, linux, mac); len(got) != 1 || got[0].AgentID != mac {
		t.Errorf("%+v", got)
	}
	if got := lease(linux, linux); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}
