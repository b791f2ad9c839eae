package api

import (
	"context"
	"fmt"
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
	ctx, goAway := context.WithCancel(t.Context())
	goAway()
	var lost client.LeaseAnswer
	eventually(t, func() bool { // a round may come after the waiter has left; then try again
		lost = n.api.dispatch.take(ctx, enrolled.Agent.Agent, 1, time.Minute)
		var granted int
		err := n.db.App.QueryRow(t.Context(), "select count(*) from leases").Scan(&granted)
		return err == nil && granted == 1
	})
	answer, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 1, WaitMS: 20_000})
	if err != nil || len(answer.Leases) != 1 {
		t.Fatalf("got %+v, %v after %+v", answer, err, lost)
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
