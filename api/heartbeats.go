package api

import (
	"context"
	"encoding/json"
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

// newHeartbeats collects the heartbeats of all agents of the node. There are always some, and each by itself would cost a
// query and a commit: 1,000 idle agents, 100 of both a second.
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
	beat := heartbeat{caller(ctx).agent, held, in.Body.Draining}
	out, err := a.beats.one(ctx, beat)
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
