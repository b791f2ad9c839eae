package api

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

// fewKinds of agents are asked for kind by kind; of more is found out first which differ in what matters.
const fewKinds = 3

// groups puts agents with room together that can take the same tasks. Those that offer the same can; of agents that each offer
// something of their own, such as a host's name, those that do not differ in what the tasks require. Who can take none of the
// tasks is in no group.
func (d *dispatcher) groups(ctx context.Context, agents []db.AgentsWaitingRow, free map[int64]int) ([][]db.AgentsWaitingRow, error) {
	able, kinds := map[int64]db.AgentsWaitingRow{}, map[int64][]db.AgentsWaitingRow{}
	for _, a := range agents {
		if a.Room = min(a.Room, narrow(free[a.ID])); a.Work && a.Room > 0 {
			able[a.ID], kinds[a.Kind] = a, append(kinds[a.Kind], a)
		}
	}
	if len(kinds) <= fewKinds {
		return slices.Collect(maps.Values(kinds)), nil
	}
	rows, err := d.api.agents.AgentsAlike(ctx, slices.Collect(maps.Keys(able)))
	if err != nil {
		return nil, fmt.Errorf("group waiting agents: %w", err)
	}
	alike := make([][]db.AgentsWaitingRow, 0, len(rows))
	for _, ids := range rows {
		group := make([]db.AgentsWaitingRow, 0, len(ids))
		for _, id := range ids {
			group = append(group, able[id])
		}
		alike = append(alike, group)
	}
	return alike, nil
}

// claim takes tasks for agents that can take the same, in one call for all, and again while it gets as many as it asked for, or some of
// what it got reserves a part of an agent: then others may still have room for what is smaller. A slot is an agent's id; the slots go
// round, so that tasks spread over agents before any gets a second one.
func (d *dispatcher) claim(ctx context.Context, group []db.AgentsWaitingRow, turn int) error {
	leastBusyFirst(group)
	for full := true; full; {
		group = d.waitingOf(group)
		wanted := slots(group)
		if len(wanted) == 0 {
			return nil
		}
		leases, err := d.api.agents.TaskGrant(ctx, db.TaskGrantParams{Slots: wanted, Warm: d.warmOf(wanted), Actor: "server:" + d.api.cfg.Name})
		if err != nil {
			return fmt.Errorf("claim tasks: %w", err)
		}
		d.api.metrics.claims.Inc()
		full = len(leases) == len(wanted) || slices.ContainsFunc(leases, func(l db.TaskGrantRow) bool { return l.Reserves })
		d.hand(ctx, leases, look{turn, !full})
	}
	return nil
}

// hand tells agents of their new leases. What fails here is in the database, and in the answer to the agent's next request.
func (d *dispatcher) hand(ctx context.Context, leases []db.TaskGrantRow, at look) {
	answers := map[int64]*client.LeaseAnswer{}
	d.warmUp(leases)
	for _, l := range leases {
		d.api.metrics.transition("task_lease")
		d.grant(ctx, db.LeaseGrantsRow(l), answers)
	}
	d.deliver(answers, at)
}

// warmUp remembers which project each agent works for.
func (d *dispatcher) warmUp(leases []db.TaskGrantRow) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for _, l := range leases {
		d.warm[l.AgentID] = warmth{l.ProjectID, now}
	}
}

// warmOf names for each slot the project that its agent has lately worked for, 0 for none; nil if no agent has, or there is no choice.
func (d *dispatcher) warmOf(slots []int64) []int64 {
	if !slices.ContainsFunc(slots, func(agent int64) bool { return agent != slots[0] }) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var projects []int64
	for i, agent := range slots {
		w, known := d.warm[agent]
		if !known || time.Since(w.at) > staysWarm {
			continue
		}
		if projects == nil {
			projects = make([]int64, len(slots))
		}
		projects[i] = w.project
	}
	return projects
}

// waitingOf leaves out who has been answered, or has gone.
func (d *dispatcher) waitingOf(group []db.AgentsWaitingRow) []db.AgentsWaitingRow {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.DeleteFunc(group, func(a db.AgentsWaitingRow) bool { return d.waiters[a.ID] == nil })
}

// leastBusyFirst puts the agents with the most room first, and those with as much in any order: else the first agent of
// a fleet would get all the work of a quiet day.
func leastBusyFirst(agents []db.AgentsWaitingRow) {
	rand.Shuffle(len(agents), func(i, j int) { agents[i], agents[j] = agents[j], agents[i] })
	slices.SortStableFunc(agents, func(a, b db.AgentsWaitingRow) int { return cmp.Compare(b.Room, a.Room) })
}

// slots are the agents' ids, each as often as it has room, one round after the other.
func slots(agents []db.AgentsWaitingRow) []int64 {
	var list []int64
	for turn := int32(0); len(list) < maxSlots; turn++ {
		before := len(list)
		for _, a := range agents {
			if turn < a.Room && len(list) < maxSlots {
				list = append(list, a.ID)
			}
		}
		if len(list) == before {
			break
		}
	}
	return list
}
