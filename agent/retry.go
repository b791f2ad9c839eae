package agent

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/ottoci/otto/client"
)

// backoff says how long to wait between tries: exponential with full jitter, so that a fleet that lost its server at
// one moment does not come back at one moment.
type backoff struct {
	first time.Duration // the first pause lies anywhere in it; base if 0
	base  time.Duration // the second pause lies within twice of it, and so on
	limit time.Duration // no pause is longer
	tries int
	draw  func(time.Duration) time.Duration // the agent's jitter
}

// lineBackoff is for the lines that an agent holds all the time.
func (a *Agent) lineBackoff() *backoff {
	window := a.cfg.ReconnectWindow
	return &backoff{first: window, base: window / 10, limit: 6 * window, draw: a.jitter}
}

// reportBackoff is for reports: their first retry is soon, since somebody waits for the result.
func (a *Agent) reportBackoff() *backoff {
	window := a.cfg.ReconnectWindow
	return &backoff{base: window / 10, limit: 6 * window, draw: a.jitter}
}

// pause gives the next pause. The server's own wish, if it has one, is the least.
func (b *backoff) pause(err error) time.Duration {
	span := min(b.base<<min(b.tries, 20), b.limit)
	if b.tries == 0 && b.first > 0 {
		span = b.first
	}
	b.tries++
	return retryAfter(err) + b.draw(span+1)
}

func (b *backoff) reset() { b.tries = 0 }

// retryAfter is how long the server asked to wait, within reason.
func retryAfter(err error) time.Duration {
	var refusal *client.Error
	if errors.As(err, &refusal) {
		return min(refusal.RetryAfter, 5*time.Minute)
	}
	return 0
}

// refused says whether asking again cannot change the answer: the request itself is wrong, or its time is over.
// Everything else is retried, a 401 too: a server that lost its database for a moment must not cost us our work.
func refused(err error) bool {
	for _, status := range []int{
		http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusGone,
		http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity,
	} {
		if client.IsStatus(err, status) {
			return true
		}
	}
	return false
}

// sleep waits, and says whether the time went by before the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// errNoAnswer ends a single try; the next one follows.
var errNoAnswer = errors.New("no answer in time")

// try gives one call a limit of time.
func try(ctx context.Context, limit time.Duration, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNoAnswer)
	defer cancel()
	return call(ctx)
}

// reportLimit bounds one try of a report.
const reportLimit = 30 * time.Second

// insist repeats a report until the server has answered it for good or ctx ends. A nil error means it was accepted.
func (a *Agent) insist(ctx context.Context, what string, call func(context.Context) error) error {
	pauses := a.reportBackoff()
	for {
		err := try(ctx, reportLimit, call)
		if err == nil || refused(err) || ctx.Err() != nil {
			if err == nil && pauses.tries > 0 {
				a.log.InfoContext(ctx, "server reached again", "call", what, "tries", pauses.tries)
			}
			return err
		}
		if pauses.tries == 0 {
			a.log.WarnContext(ctx, "server not reached, trying on", "call", what, "error", err)
		}
		if !sleep(ctx, pauses.pause(err)) {
			return err
		}
	}
}
