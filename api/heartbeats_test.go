package api

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/ottoci/otto/client"
)

// Heartbeats of many agents go together. Each is answered for its own leases.
func TestHeartbeatsTogether(t *testing.T) {
	t.Parallel()
	n := start(t)
	mustExec(t, n, "update cluster set heartbeat = '2 seconds'")
	n.run(manyTasks(8))
	type worker struct {
		*client.Client
		lease client.Lease
	}
	var workers []worker
	for i := range 8 {
		agent, _ := n.enrol(client.AgentOffer{Name: fmt.Sprint("a", i)})
		workers = append(workers, worker{agent, begin(t, agent)})
	}
	mustExec(t, n, "update leases set abort_at = now(), abort_level = 'kill', abort_reason = 'enough' where id = $1", workers[3].lease.ID)
	mustExec(t, n, "update leases set expires_at = now()")
	eventually(t, func() bool { return n.api.heartbeat.Load() > 0 })
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() {
			over, foreign := uuid.NewString(), workers[(i+1)%8].lease.ID
			beat, err := w.AgentHeartbeat(t.Context(), client.Heartbeat{Leases: []string{over, w.lease.ID, foreign}, Draining: i == 5})
			if err != nil || len(beat.Fenced) != 2 || (i == 3) != (len(beat.Aborts) == 1) {
				t.Errorf("agent %d: %+v, %v", i, beat, err)
			}
			if i == 3 && beat.Aborts[0] != (client.Abort{Lease: w.lease.ID, Level: "kill", Reason: "enough"}) {
				t.Errorf("%+v", beat.Aborts)
			}
		})
	}
	wg.Wait()
	var renewed, draining int
	err := n.db.Owner.QueryRow(t.Context(), "select (select count(*) from leases where expires_at > now()), (select count(*) from agents where state = 'draining')").Scan(&renewed, &draining)
	if err != nil || renewed != 8 || draining != 1 {
		t.Errorf("%d leases renewed, %d agents draining, %v", renewed, draining, err)
	}
}

// A lease whose row somebody holds is neither renewed nor lost: its agent waits for it, and nobody else does.
func TestHeartbeatWaitsForALockedLease(t *testing.T) {
	t.Parallel()
	n := start(t)
	one, _ := n.enrol(client.AgentOffer{Capacity: 2})
	other, _ := n.enrol(client.AgentOffer{Name: "other"})
	n.run(manyTasks(3))
	locked, free, others := begin(t, one), begin(t, one), begin(t, other)
	tx, err := n.db.Owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "update leases set deadline_at = deadline_at where id = $1", locked.ID); err != nil {
		t.Fatal(err)
	}
	mustExec(t, n, "update leases set expires_at = now() where id <> $1", locked.ID)
	var wg sync.WaitGroup
	wg.Go(func() {
		beat, err := one.AgentHeartbeat(t.Context(), client.Heartbeat{Leases: []string{locked.ID, free.ID}})
		if err != nil || len(beat.Fenced) != 0 {
			t.Error(beat, err)
		}
	})
	if beat, err := other.AgentHeartbeat(t.Context(), client.Heartbeat{Leases: []string{others.ID}}); err != nil || len(beat.Fenced) != 0 {
		t.Error(beat, err)
	}
	eventually(t, func() bool {
		var renewed int
		err := n.db.Owner.QueryRow(t.Context(), "select count(*) from leases where expires_at > now() and id <> $1", locked.ID).Scan(&renewed)
		return err == nil && renewed == 2
	})
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

// Agents that hold nothing are answered at once, and told of together. A heartbeat that is told of late makes nobody online
// who has said goodbye meanwhile; one that is sent after that does.
func TestIdleHeartbeats(t *testing.T) {
	t.Parallel()
	n := unstarted(t)
	a := n.api
	var agents []int64
	for i := range 3 {
		_, enrolled := n.enrol(client.AgentOffer{Name: fmt.Sprint("a", i)})
		agents = append(agents, enrolled.Agent.Agent)
	}
	mustExec(t, n, "update agents set seen_at = now() - interval '1 hour', state = case when id = $1 then 'offline' else 'online' end", agents[2])
	tell := func() {
		t.Helper()
		if err := a.tellOf(t.Context(), a.idle.take()); err != nil {
			t.Fatal(err)
		}
	}
	for _, agent := range agents[1:] {
		if !a.idle.note(agent) {
			t.Error("a first heartbeat needs no more than a note")
		}
	}
	tell()
	var seen string
	err := n.db.Owner.QueryRow(t.Context(), "select string_agg(state || (seen_at > now() - interval '1 minute')::text, ' ' order by id) from agents").Scan(&seen)
	if err != nil || seen != "onlinefalse onlinetrue offlinefalse" {
		t.Error(seen, err)
	}
	if !a.idle.note(agents[1]) || a.idle.note(agents[2]) {
		t.Error("who was left out must be told by the next heartbeat itself, and nobody else")
	}
	if !a.idle.note(agents[2]) {
		t.Error("and only once")
	}
}

// An agent that was given up comes back by its heartbeats.
func TestHeartbeatsBringAnAgentBack(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, enrolled := n.enrol(client.AgentOffer{})
	mustExec(t, n, "update agents set state = 'offline'")
	eventually(t, func() bool {
		if _, err := agent.AgentHeartbeat(t.Context(), client.Heartbeat{Leases: []string{}}); err != nil {
			t.Error(err)
		}
		shown, err := n.client("reader").AgentShow(t.Context(), enrolled.Agent.Agent)
		return err == nil && shown.State == "online"
	})
}
