package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

// manyTasks is an Ottofile of one parallel stage.
func manyTasks(count int) string {
	var b strings.Builder
	b.WriteString("stages:\n  - parallel:\n")
	for i := range count {
		fmt.Fprintf(&b, "      - {task: t%d, steps: [{sh: 'true'}]}\n", i)
	}
	return b.String()
}

// Fifty agents on two nodes work five hundred tasks off: each task goes to one agent, once.
func TestDispatcherLeasesEachTaskOnce(t *testing.T) {
	t.Parallel()
	n := start(t)
	second := startOn(t, n.db, n.store, func(c *Config) { c.Name = "second" })
	const agents, tasks = 50, 500
	var mu sync.Mutex
	holders := map[int64][]string{}
	var wg sync.WaitGroup
	ctx, done := context.WithTimeout(t.Context(), 2*time.Minute)
	defer done()
	var finished sync.WaitGroup
	finished.Add(tasks)
	for i := range agents {
		node := n
		if i%2 == 1 {
			node = second
		}
		_, enrolled := n.enrol(client.AgentOffer{Name: fmt.Sprintf("agent-%d", i), Capacity: 4, Offers: map[string]any{"odd": i%2 == 1}})
		agent := node.with(enrolled.Token)
		wg.Go(func() {
			for ctx.Err() == nil {
				answer, err := agent.LeaseTake(ctx, client.LeaseRequest{Free: 1 + i%4, WaitMS: 30_000})
				if err != nil {
					continue
				}
				for _, lease := range answer.Leases {
					mu.Lock()
					holders[lease.Task] = append(holders[lease.Task], lease.ID)
					mu.Unlock()
					_, err1 := agent.LeaseStart(ctx, lease.ID, client.LeaseStart{Epoch: lease.Epoch})
					_, err2 := agent.LeaseFinish(ctx, lease.ID, client.LeaseFinish{Epoch: lease.Epoch, Outcome: "succeeded"})
					if err1 != nil || err2 != nil {
						t.Errorf("task %d: %v, %v", lease.Task, err1, err2)
					}
					finished.Done()
				}
			}
		})
	}
	run := n.run(manyTasks(tasks))
	finished.Wait()
	done()
	wg.Wait()
	for task, leases := range holders {
		if len(leases) != 1 {
			t.Errorf("task %d was given %d times: %v", task, len(leases), leases)
		}
	}
	detail, err := n.client("reader").RunShow(t.Context(), client.RunNumber(run.Run))
	if err != nil || len(holders) != tasks || detail.State != client.Succeeded {
		t.Errorf("%d tasks were given, the run is %s, %v", len(holders), detail.State, err)
	}
}

func TestDispatcherSpreadsTasks(t *testing.T) {
	t.Parallel()
	got := slots([]db.AgentsWaitingRow{{ID: 1, Room: 3}, {ID: 2, Room: 1}, {ID: 3, Room: 2}})
	if fmt.Sprint(got) != "[1 2 3 1 3 1]" {
		t.Error(got)
	}
	if got := slots([]db.AgentsWaitingRow{{ID: 1, Room: 1000}}); len(got) != maxSlots {
		t.Errorf("%d slots", len(got))
	}
}

// A task that becomes ready reaches a waiting agent without the help of a poll.
func TestDispatcherIsWoken(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{})
	got := make(chan client.LeaseAnswer, 1)
	go func() {
		answer, _ := agent.LeaseTake(context.WithoutCancel(t.Context()), client.LeaseRequest{Free: 1, WaitMS: 30_000})
		got <- answer
	}()
	eventually(t, func() bool { return n.api.dispatch.waiting() == 1 })
	n.run(smallOttofile)
	if answer := <-got; len(answer.Leases) != 1 {
		t.Errorf("%+v", answer)
	}
}

// The work of a request whose agent went away is in the answer to its next request.
func TestDispatcherKeepsWhatWasNotDelivered(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, enrolled := n.enrol(client.AgentOffer{})
	n.run(smallOttofile)
	granting, err := n.db.Owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := granting.Exec(t.Context(), "lock table steps"); err != nil { // a grant must wait here
		t.Fatal(err)
	}
	ctx, goAway := context.WithCancel(t.Context())
	gone := make(chan client.LeaseAnswer)
	go func() {
		gone <- n.api.dispatch.take(ctx, enrolled.Agent.Agent, client.LeaseRequest{Free: 1}, time.Minute)
	}()
	eventually(t, func() bool { return n.blocked() > 0 })
	goAway()
	if lost := <-gone; len(lost.Leases) != 0 {
		t.Errorf("%+v", lost)
	}
	if err := granting.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	answer, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 1, WaitMS: 20_000})
	if err != nil || len(answer.Leases) != 1 {
		t.Fatalf("got %+v, %v", answer, err)
	}
	lease := answer.Leases[0]
	if lease.Spec.Steps[0].Sh != "echo hello" || lease.Epoch != 1 {
		t.Errorf("%+v", lease)
	}
	// It was told just now, so a repeat is held.
	if again, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 0, WaitMS: 1}); err != nil || len(again.Leases) != 0 {
		t.Error(again, err)
	}
}

// Another node knows of a grant only what the database says; it repeats it once the answer cannot be on its way any more.
func TestDispatcherOfAnotherNodeDelivers(t *testing.T) {
	t.Parallel()
	n := start(t)
	second := startOn(t, n.db, n.store, func(c *Config) { c.Name = "second" })
	agent, enrolled := n.enrol(client.AgentOffer{})
	n.run(smallOttofile)
	first := take(t, agent)
	mustExec(t, n, "update leases set granted_at = granted_at - interval '5 seconds'")
	if again := take(t, second.with(enrolled.Token)); again.ID != first.ID {
		t.Errorf("%+v after %+v", again, first)
	}
}

// A task that cannot be read is parked; the others flow on.
func TestDispatcherParksWhatItCannotRead(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{Capacity: 3})
	run := n.run(manyTasks(3))
	mustExec(t, n, `update plan_tasks set spec = '{"name": "t1", "steps": [{"name": "x", "sh": 7}]}' where task_index = 1`)
	answer, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 3, WaitMS: 20_000})
	if err != nil || len(answer.Leases) != 2 {
		t.Fatalf("%+v %v", answer, err)
	}
	detail, err := n.client("reader").RunShow(t.Context(), client.RunNumber(run.Run))
	if err != nil {
		t.Fatal(err)
	}
	parked := detail.Stages[0].Tasks[1]
	if parked.State != client.Quarantined || !strings.HasPrefix(parked.Reason, "its plan cannot be read: ") {
		t.Errorf("%+v", parked)
	}
}

// What one agent holds at a time is bounded by its capacity, whatever it asks for; a disabled one gets nothing.
func TestDispatcherKeepsToCapacityAndState(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, enrolled := n.enrol(client.AgentOffer{Capacity: 2})
	n.run(manyTasks(5))
	answer, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 100, WaitMS: 20_000})
	if err != nil || len(answer.Leases) != 2 {
		t.Fatalf("%+v %v", answer, err)
	}
	if _, err := n.client("admin").AgentDisable(t.Context(), enrolled.Agent.Agent); err != nil {
		t.Fatal(err)
	}
	if answer, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 2, WaitMS: 100}); err != nil || len(answer.Leases) != 0 {
		t.Error(answer, err)
	}
}

func TestNewerRequestEndsTheOneBefore(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{})
	old := make(chan client.LeaseAnswer, 1)
	go func() {
		answer, _ := agent.LeaseTake(context.WithoutCancel(t.Context()), client.LeaseRequest{Free: 1, WaitMS: 30_000})
		old <- answer
	}()
	eventually(t, func() bool { return n.api.dispatch.waiting() == 1 })
	if _, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 1, WaitMS: 1}); err != nil {
		t.Fatal(err)
	}
	if answer := <-old; answer.RetryAfterMS == 0 {
		t.Errorf("%+v", answer)
	}
}

func TestStopEndsHeldRequests(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{})
	got := make(chan client.LeaseAnswer, 1)
	go func() {
		answer, _ := agent.LeaseTake(context.WithoutCancel(t.Context()), client.LeaseRequest{Free: 1, WaitMS: 30_000})
		got <- answer
	}()
	eventually(t, func() bool { return n.api.dispatch.waiting() == 1 })
	n.api.Stop()
	if answer := <-got; answer.RetryAfterMS == 0 || len(answer.Leases) != 0 {
		t.Errorf("%+v", answer)
	}
}

// blocked is how many statements wait for somebody.
func (n *node) blocked() (statements int) {
	n.t.Helper()
	const query = "select count(*) from pg_locks l join pg_database d on d.oid = l.database and d.datname = current_database() where not l.granted"
	if err := n.db.Owner.QueryRow(n.t.Context(), query).Scan(&statements); err != nil {
		n.t.Fatal(err)
	}
	return statements
}

// unstarted gives a node whose dispatcher looks at the database only when it is made to.
func unstarted(t *testing.T) *node {
	t.Helper()
	n := start(t)
	a, err := New(n.api.cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.api = a
	return n
}

// await joins a waiter.
func (n *node) await(agent int64, asked client.LeaseRequest) *waiter {
	w := &waiter{agent: agent, free: asked.Free, counting: asked.Counting, answer: make(chan client.LeaseAnswer, 1)}
	n.api.dispatch.join(w)
	return w
}

// In an idle fleet a request costs no look at the database, unless something may have changed for its agent.
func TestDispatcherLooksOnlyIfSomethingMayHaveChanged(t *testing.T) {
	t.Parallel()
	n := unstarted(t)
	d := n.api.dispatch
	_, enrolled := n.enrol(client.AgentOffer{Capacity: 3})
	agent := enrolled.Agent.Agent
	round := func() {
		t.Helper()
		if err := d.round(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	fresh := func(free int) bool {
		w := n.await(agent, client.LeaseRequest{Free: free})
		return w.fresh
	}
	if !fresh(1) {
		t.Error("an agent that is not known must be looked at")
	}
	if round(); fresh(1) {
		t.Error("nothing has changed")
	}
	if !fresh(2) {
		t.Error("more of it is free")
	}
	if round(); fresh(2) || fresh(1) {
		t.Error("nothing has changed")
	}
	if d.woken(); !fresh(1) {
		t.Error("a wake-up came")
	}
	round()
	d.lose(agent, noWork())
	if !fresh(1) {
		t.Error("an answer was lost")
	}
	n.run(smallOttofile)
	w := n.await(agent, client.LeaseRequest{Free: 1})
	round()
	if answer := <-w.answer; len(answer.Leases) != 1 {
		t.Fatal(answer)
	}
	if !fresh(1) {
		t.Error("it was told something, which has not arrived: it asks for as much as before")
	}
}

// An agent that was given all that there was asks again at once, for what room it has left. No look follows, unless it asks
// for as much as before: then the answer has not arrived.
func TestDispatcherDoesNotLookAgainAfterItHasGivenAll(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		tasks        int
		asked, again int
		fresh        bool
	}{
		{"all_that_there_was", 1, 3, 2, false},
		{"all_that_it_has_room_for", 3, 2, 0, false},
		{"the_answer_was_lost", 1, 3, 3, true},
		{"more_of_it_is_free", 3, 2, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := unstarted(t)
			d := n.api.dispatch
			_, enrolled := n.enrol(client.AgentOffer{Capacity: 3})
			n.run(manyTasks(c.tasks))
			d.woken()
			w := n.await(enrolled.Agent.Agent, client.LeaseRequest{Free: c.asked})
			if err := d.round(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if answer := <-w.answer; len(answer.Leases) != min(c.tasks, c.asked) {
				t.Fatalf("%d leases", len(answer.Leases))
			}
			if again := n.await(enrolled.Agent.Agent, client.LeaseRequest{Free: c.again}); again.fresh != c.fresh {
				t.Errorf("fresh: %t", again.fresh)
			}
			if d.woken(); !n.await(enrolled.Agent.Agent, client.LeaseRequest{Free: c.again}).fresh {
				t.Error("a wake-up came")
			}
		})
	}
}

// Agents that differ in what nobody requires are asked for together; those that can take nothing are not asked for.
func TestDispatcherClaimsForAllAlike(t *testing.T) {
	t.Parallel()
	n := unstarted(t)
	var waiters []*waiter
	for i := range 24 {
		offers := map[string]any{"hostname": fmt.Sprint("host", i), "os": []string{"linux", "darwin"}[i%2], "level": 1 + i%4}
		_, enrolled := n.enrol(client.AgentOffer{Name: fmt.Sprint("a", i), Capacity: 2, Offers: offers})
		waiters = append(waiters, n.await(enrolled.Agent.Agent, client.LeaseRequest{Free: 2}))
	}
	task := "      - {task: %s, requires: {%s}, steps: [{sh: 'true'}]}\n"
	n.run("stages:\n  - parallel:\n" + fmt.Sprintf(task, "a", "os: linux, level: 3") + fmt.Sprintf(task, "b", "os: linux, level: 3") +
		fmt.Sprintf(task, "c", "hostname: host5") + fmt.Sprintf(task, "d", "os: plan9"))
	if err := n.api.dispatch.round(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	n.api.MetricsHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(w.Body.String(), "otto_dispatcher_claims_total 2\n") {
		t.Errorf("there are two kinds of agents that can take a task: %s", w.Body)
	}
	got := map[string]int{}
	for i, w := range waiters {
		select {
		case answer := <-w.answer:
			for _, l := range answer.Leases {
				got[l.Spec.Name] = i
			}
		default:
		}
	}
	if len(got) != 3 || got["c"] != 5 || got["a"]%4 != 2 || got["b"]%4 != 2 || got["a"] == got["b"] {
		t.Errorf("tasks went to agents %v", got)
	}
	if ready := n.api.dispatch.waiting(); ready != 21 {
		t.Errorf("%d agents wait on", ready)
	}
}

// A result makes a slot free in the request that the agent holds already, if it asked for that.
func TestResultsAreCountedInTheHeldRequest(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, enrolled := n.enrol(client.AgentOffer{Capacity: 1})
	if !slices.Contains(enrolled.Settings.Protocol, client.ProtocolCounting) {
		t.Error(enrolled.Settings.Protocol)
	}
	n.run(manyTasks(3))
	held := func(asked client.LeaseRequest) <-chan client.LeaseAnswer {
		before, got := n.api.dispatch.waiting(), make(chan client.LeaseAnswer, 1)
		go func() {
			answer, _ := agent.LeaseTake(context.WithoutCancel(t.Context()), asked)
			got <- answer
		}()
		eventually(t, func() bool { return n.api.dispatch.waiting() == before+1 })
		return got
	}
	first := begin(t, agent)
	second := held(client.LeaseRequest{Free: 0, Counting: 7, WaitMS: 30_000})
	if state := finish(t, agent, first); state.Counted != 7 {
		t.Errorf("%+v", state)
	}
	answer := <-second
	if len(answer.Leases) != 1 {
		t.Fatalf("%+v", answer)
	}
	if state := finish(t, agent, answer.Leases[0]); state.Counted != 0 {
		t.Errorf("no request was held: %+v", state)
	}
	third := begin(t, agent)
	old := held(client.LeaseRequest{Free: 0, WaitMS: 30_000})
	state, err := agent.LeaseReport(t.Context(), client.LeaseReports{Finishes: []client.LeaseFinished{{Lease: third.ID, LeaseFinish: client.LeaseFinish{Epoch: 1, Outcome: "failed"}}}})
	if err != nil || state.Finishes[0].Problem != nil || state.Finishes[0].Counted != 0 {
		t.Errorf("%+v, %v", state, err)
	}
	n.api.Stop()
	<-old
}

// In an idle installation the poll is rare, and it is not for an agent without room.
func TestDispatcherPollsWhereThereMayBeWork(t *testing.T) {
	t.Parallel()
	n := start(t)
	eventually(t, n.api.wake.Hearing)
	d := newDispatcher(n.api)
	_, enrolled := n.enrol(client.AgentOffer{})
	w := &waiter{agent: enrolled.Agent.Agent, answer: make(chan client.LeaseAnswer, 1)}
	d.join(w)
	want := func(what string, everyone bool, again time.Duration) {
		t.Helper()
		if is, next := d.poll(t.Context()); is != everyone || next != again {
			t.Errorf("%s: %v, %s; want %v, %s", what, is, next, everyone, again)
		}
	}
	want("no room", false, pollEvery)
	w.free = 1
	want("nothing to do", false, calmEvery)
	d.woken()
	want("a wake-up", false, pollEvery)
	d.woke = time.Time{}
	n.run(smallOttofile)
	want("a task", true, pollEvery)
	mustExec(t, n, "update tasks set ready_at = now() + interval '1 hour'")
	want("a task, later", true, pollEvery)
	deaf := unstarted(t)
	d = newDispatcher(deaf.api)
	d.join(&waiter{agent: 1, free: 1, answer: make(chan client.LeaseAnswer, 1)})
	want("wake-ups are not heard", false, pollEvery)
}

// Of a large fleet a few are looked at first; a task that only one of the others can take finds it all the same.
func TestDispatcherLooksAtEverybodyInTheEnd(t *testing.T) {
	t.Parallel()
	n := unstarted(t)
	var waiters []*waiter
	for i := range firstLook + 30 {
		_, enrolled := n.enrol(client.AgentOffer{Name: fmt.Sprint("a", i), Offers: map[string]any{"hostname": fmt.Sprint("host", i)}})
		waiters = append(waiters, n.await(enrolled.Agent.Agent, client.LeaseRequest{Free: 1}))
	}
	for i, w := range waiters {
		if i%10 == 3 {
			n.run(fmt.Sprintf("stages:\n  - stage: a\n    requires: {hostname: host%d}\n    steps: [{sh: 'true'}]\n", i))
			if err := n.api.dispatch.round(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			select {
			case answer := <-w.answer:
				if len(answer.Leases) != 1 {
					t.Errorf("agent %d: %+v", i, answer)
				}
			default:
				t.Errorf("agent %d was not looked at", i)
			}
		}
	}
	if n.api.dispatch.waiting() != firstLook+30-13 {
		t.Errorf("%d agents wait on", n.api.dispatch.waiting())
	}
}
