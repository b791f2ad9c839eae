package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ottoci/otto/client"
)

// longPoll is the least time for which the server is asked to hold a request; up to longPollSpread more, so that the
// requests of a fleet do not end together.
const (
	longPoll       = 25 * time.Second
	longPollSpread = 5 * time.Second
	longPollMargin = 15 * time.Second // for the answer to arrive
)

// takeWork holds one request for work at all times; without a free slot it brings orders only. It never gives up.
func (a *Agent) takeWork(ctx context.Context) {
	outage := a.lineBackoff()
	idle := &backoff{base: 50 * time.Millisecond, limit: time.Second, draw: a.jitter}
	for ctx.Err() == nil {
		asked := time.Now()
		answer, err := a.ask(ctx)
		if err != nil {
			if outage.tries == 0 && ctx.Err() == nil {
				a.log.WarnContext(ctx, "server not reached, trying on", "call", "take", "error", err)
			}
			sleep(ctx, outage.pause(err))
			continue
		}
		outage.reset()
		news := a.accept(ctx, answer)
		switch {
		case answer.RetryAfterMS > 0:
			sleep(ctx, milliseconds(answer.RetryAfterMS))
		case news || time.Since(asked) > time.Second:
			idle.reset()
		default:
			// An answer at once without news, such as an order repeated while its task still stops.
			sleep(ctx, idle.pause(nil))
		}
	}
}

// ask sends one request. That a slot became free meanwhile is not an error.
func (a *Agent) ask(ctx context.Context) (client.LeaseAnswer, error) {
	asked, ctx, done := a.roster.request(ctx)
	defer done()
	wait := longPoll + a.jitter(longPollSpread)
	asked.WaitMS = wait.Milliseconds()
	if !slices.Contains(a.settings.Protocol, client.ProtocolCounting) {
		asked.Counting = 0
	}
	var answer client.LeaseAnswer
	err := try(ctx, wait+longPollMargin, func(ctx context.Context) (err error) {
		answer, err = a.control.LeaseTake(ctx, asked)
		return err
	})
	if err != nil && errors.Is(context.Cause(ctx), errSlotFree) {
		return client.LeaseAnswer{}, nil
	}
	return answer, err
}

// accept starts what the answer brings, and says whether it brought anything new.
func (a *Agent) accept(ctx context.Context, answer client.LeaseAnswer) bool {
	news := a.obey(ctx, answer.Aborts)
	for _, lease := range answer.Leases {
		switch err := a.begin(ctx, lease); {
		case errors.Is(err, errKnown):
		case err != nil:
			a.decline(ctx, lease, err)
		default:
			news = true
			if a.cfg.Once {
				a.Drain()
			}
		}
	}
	return news
}

// decline hands back a lease that cannot be worked on. If that is not heard, the lease runs out by itself.
func (a *Agent) decline(ctx context.Context, lease client.Lease, why error) {
	err := try(ctx, 10*time.Second, func(ctx context.Context) error {
		_, err := a.control.LeaseRelease(ctx, lease.ID, client.LeaseRelease{Epoch: lease.Epoch, Reason: why.Error(), Log: noLog()})
		return err
	})
	a.log.WarnContext(ctx, "lease declined", "lease", lease.ID, "task", lease.Task, "reason", why, "error", err)
}

// obey passes orders on to the tasks they are for, and says whether any of them was new.
func (a *Agent) obey(ctx context.Context, aborts []client.Abort) bool {
	news := false
	for _, order := range aborts {
		if t := a.roster.find(order.Lease); t != nil && t.obey(ctx, order) {
			news = true
		}
	}
	return news
}
