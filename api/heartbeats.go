package api

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

// heartbeat is one agent's, as otto.leases_renew reads it.
type heartbeat struct {
	Agent    int64       `json:"agent"`
	Held     []uuid.UUID `json:"held"`
	Draining bool        `json:"draining"`
	Idle     bool        `json:"idle,omitempty"` // noted before; so it counts only if the agent is online
}

// renewal is what became of an agent's leases.
type renewal struct {
	client.HeartbeatAnswer
	locked []uuid.UUID // somebody else held their rows; neither renewed nor lost
}

const (
	// manyHeartbeats is the most of one transaction. It is soon over: one row is written for each agent, and one for each lease.
	manyHeartbeats = 1000
	// longestLinger bounds how long heartbeats are collected. Orders come with the answers, where nothing faster brings them.
	longestLinger = time.Second
)

// newHeartbeats collects the heartbeats of all agents of the node that hold leases. There are always some, and each by itself
// would cost a query and a commit.
func (a *API) newHeartbeats() *batcher[heartbeat, renewal] {
	return &batcher[heartbeat, renewal]{
		most: manyHeartbeats,
		all: func(ctx context.Context, in []heartbeat) (map[int]renewal, error) {
			rows, err := encoded(in, func(body json.RawMessage) ([]db.LeasesRenewRow, error) { return a.agents.LeasesRenew(ctx, body) })
			done := make(map[int]renewal, len(rows))
			for _, row := range rows {
				out := renewal{noOrders(), row.Locked}
				if err := json.Unmarshal(row.Orders, &out.Aborts); err != nil {
					return nil, err
				}
				for _, id := range row.Fenced {
					out.Fenced = append(out.Fenced, id.String())
				}
				done[int(row.Place)] = out
			}
			return done, err
		},
		single: a.renewSingly,
		linger: a.linger,
	}
}

// linger waits for heartbeats to go with those that are there. An agent does not mind: it has hardly begun to wait for the
// time of its next one.
func (a *API) linger(int) {
	timer := time.NewTimer(min(time.Duration(a.heartbeat.Load())/10, longestLinger))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.stopping:
	}
}

// renewSingly renews lease by lease, and waits for whoever holds one: who held one and waited for another could wait for
// somebody who waits for him.
func (a *API) renewSingly(ctx context.Context, beat heartbeat) (renewal, error) {
	out := renewal{HeartbeatAnswer: noOrders()}
	if len(beat.Held) == 0 {
		_, err := a.agents.LeaseRenew(ctx, db.LeaseRenewParams{Agent: beat.Agent, Held: beat.Held, Draining: beat.Draining})
		return out, err
	}
	for _, id := range beat.Held {
		rows, err := a.agents.LeaseRenew(ctx, db.LeaseRenewParams{Agent: beat.Agent, Held: []uuid.UUID{id}, Draining: beat.Draining})
		switch {
		case err != nil:
			return out, err
		case len(rows) == 0:
			out.Fenced = append(out.Fenced, id.String())
		case rows[0].AbortAt != nil:
			out.Aborts = append(out.Aborts, client.Abort{Lease: id.String(), Level: text(rows[0].AbortLevel), Reason: text(rows[0].AbortReason)})
		}
	}
	return out, nil
}

func noOrders() client.HeartbeatAnswer {
	return client.HeartbeatAnswer{Aborts: []client.Abort{}, Fenced: []string{}}
}

func (a *API) agentHeartbeat(ctx context.Context, in *struct{ Body client.Heartbeat }) (*output[client.HeartbeatAnswer], error) {
	held, err := leaseIDs(in.Body.Leases)
	if err != nil {
		return nil, err
	}
	beat := heartbeat{Agent: caller(ctx).agent, Held: held, Draining: in.Body.Draining}
	if len(held) == 0 && !beat.Draining && a.idle.note(beat.Agent) {
		return &output[client.HeartbeatAnswer]{noOrders()}, nil
	}
	renew := a.beats.one
	if beat.Draining { // it must get no more work from this moment on, also not what it hands back
		renew = a.renewSingly
	}
	out, err := renew(ctx, beat)
	if err != nil {
		return nil, err
	}
	if len(out.locked) > 0 {
		beat.Held = out.locked
		late, err := a.renewSingly(ctx, beat)
		if err != nil {
			return nil, err
		}
		out.Aborts, out.Fenced = append(out.Aborts, late.Aborts...), append(out.Fenced, late.Fenced...)
	}
	return &output[client.HeartbeatAnswer]{out.HeartbeatAnswer}, nil
}

// idlers are the agents that were heard of and hold nothing. There is nothing to tell them, so they are answered at once, and
// the database is told of them a few times in the time between two heartbeats: of 1,000 agents, in one statement every 5 s
// instead of 100 a second.
type idlers struct {
	mu     sync.Mutex
	agents map[int64]bool // true: to be told of; false: left out the last time
}

// note says whether the agent needs no more than this. One that was left out may be offline in the database: it is told by the
// next heartbeat itself.
func (i *idlers) note(agent int64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.agents == nil {
		i.agents = map[int64]bool{}
	}
	if well, known := i.agents[agent]; known && !well {
		delete(i.agents, agent)
		return false
	}
	i.agents[agent] = true
	return true
}

// take lists those to be told of, and leaves them as left out.
func (i *idlers) take() []heartbeat {
	i.mu.Lock()
	defer i.mu.Unlock()
	beats := make([]heartbeat, 0, len(i.agents))
	for agent, well := range i.agents {
		if well {
			beats = append(beats, heartbeat{Agent: agent, Held: []uuid.UUID{}, Idle: true})
		}
		i.agents[agent] = false
	}
	return beats
}

// told notes which the database has taken.
func (i *idlers) told(beats []heartbeat, taken []db.LeasesRenewRow) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, row := range taken {
		if agent := beats[row.Place].Agent; !i.agents[agent] {
			delete(i.agents, agent)
		}
	}
}

// longestIdle is how late the database hears of an idle agent, at most. An agent is given up after three lease times.
const longestIdle = 5 * time.Second

// tellOfIdlers goes on until ctx ends. An error is one heartbeat less.
func (a *API) tellOfIdlers(ctx context.Context) {
	failing := false
	for wait(ctx, min(longestIdle, max(time.Duration(a.heartbeat.Load())/2, slowestBeat/30))) {
		var err error
		for beats := range slices.Chunk(a.idle.take(), manyHeartbeats) {
			err = errors.Join(err, a.tellOf(ctx, beats))
		}
		if err != nil && !failing && ctx.Err() == nil {
			a.log.WarnContext(ctx, "idle agents were not noted", "error", err)
		}
		failing = err != nil
	}
}

func (a *API) tellOf(ctx context.Context, beats []heartbeat) error {
	ctx, cancel := context.WithTimeout(ctx, longestIdle)
	defer cancel()
	rows, err := encoded(beats, func(body json.RawMessage) ([]db.LeasesRenewRow, error) { return a.agents.LeasesRenew(ctx, body) })
	a.idle.told(beats, rows)
	return err
}
