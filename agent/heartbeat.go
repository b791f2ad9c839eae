package agent

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/ottoci/otto/client"
)

// pulse is the state of the heartbeat loop. All times are read from the monotonic clock: the wall clock of an agent may
// be wrong by hours, or jump.
type pulse struct {
	interval time.Duration
	ttl      time.Duration
	renewed  time.Time // when the last heartbeat that was answered began
	refused  time.Time // since when the server has been refusing the credential; zero if it does not
	warned   bool      // that leases may be lost
	pauses   *backoff
}

// beat renews all leases again and again. It does nothing else: whatever is slow elsewhere must not cost a lease.
func (a *Agent) beat(ctx context.Context) {
	interval := milliseconds(a.settings.HeartbeatMS)
	p := &pulse{
		interval: interval,
		ttl:      milliseconds(a.settings.LeaseTTLMS),
		renewed:  time.Now(),
		pauses:   &backoff{base: interval / 16, limit: interval / 2, draw: a.jitter},
	}
	for {
		wait := a.beatOnce(ctx, p)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-a.kick:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// beatOnce sends one heartbeat and says how long to wait before the next.
func (a *Agent) beatOnce(ctx context.Context, p *pulse) time.Duration {
	began := time.Now()
	held := a.roster.held()
	request := client.Heartbeat{Leases: make([]string, 0, len(held)), Draining: a.roster.draining()}
	for _, t := range held {
		request.Leases = append(request.Leases, t.lease.ID)
	}
	var answer client.HeartbeatAnswer
	err := try(ctx, max(p.ttl/3, time.Second), func(ctx context.Context) (err error) {
		answer, err = a.pulse.AgentHeartbeat(ctx, request)
		return err
	})
	if ctx.Err() != nil {
		return 0
	}
	if err != nil {
		if client.IsStatus(err, http.StatusServiceUnavailable) { // without the database nobody gives up a lease, nor for one lease time after
			renewed(held, began)
		}
		a.missed(ctx, p, err)
		return p.pauses.pause(err)
	}
	if p.pauses.tries > 0 {
		a.log.InfoContext(ctx, "heartbeats heard again", "silent_ms", time.Since(p.renewed).Milliseconds())
	}
	p.pauses.reset()
	p.renewed, p.refused, p.warned = began, time.Time{}, false
	renewed(held, began)
	a.obey(ctx, answer.Aborts)
	for _, lease := range answer.Fenced {
		if t := a.roster.find(lease); t != nil {
			t.fence()
		}
	}
	return max(p.interval-time.Since(began), p.interval/10)
}

// renewed notes that leases live on, by an answer to what was asked at that time.
func renewed(held []*task, asked time.Time) {
	for _, t := range held {
		t.renewed(asked)
	}
}

// missed notes that a heartbeat was not answered. The work goes on: an outage of the server is no reason to lose it, and
// should the lease have gone to another agent meanwhile, the first answer says so. Tasks that must not run unseen stop
// by themselves (watchLease).
func (a *Agent) missed(ctx context.Context, p *pulse, err error) {
	silent := time.Since(p.renewed)
	if p.pauses.tries == 0 {
		a.log.WarnContext(ctx, "heartbeat not heard, trying on", "error", err)
	}
	if silent > p.ttl && !p.warned {
		p.warned = true
		a.log.WarnContext(ctx, "leases may be lost, work goes on", "silent_ms", silent.Milliseconds())
	}
	if !client.IsStatus(err, http.StatusUnauthorized) {
		p.refused = time.Time{}
		return
	}
	if p.refused.IsZero() {
		p.refused = time.Now()
	}
	if time.Since(p.refused) > p.ttl {
		a.fail(fmt.Errorf("the server no longer accepts the agent's credential %s: %w", a.credentialPlace(), err))
	}
}
