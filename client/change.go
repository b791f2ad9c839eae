package client

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"time"
)

// changeTries is how often a change is sent: a server that restarts is back within the pauses between.
const changeTries = 4

// change does a mutation, and repeats it where nobody can say whether it was done. The idempotency key makes the repeats
// safe: they give the answer of the first.
func change[T any](ctx context.Context, c *Client, op operation, in any) (T, error) {
	op = op.with("Idempotency-Key", rand.Text())
	for try := 1; ; try++ {
		out, err := call[T](ctx, c, op, in)
		if err == nil || try == changeTries || ctx.Err() != nil || !passing(err) {
			return out, err
		}
		if !pause(ctx, max(retryPause(err), time.Duration(try*try)*100*time.Millisecond)) {
			return out, err
		}
	}
}

// passing says whether an error may be gone at the next try: no answer, or one that says so.
func passing(err error) bool {
	var refusal *Error
	if !errors.As(err, &refusal) {
		return true
	}
	switch refusal.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryPause is how long the server asks to wait.
func retryPause(err error) time.Duration {
	var refusal *Error
	if errors.As(err, &refusal) {
		return refusal.RetryAfter
	}
	return 0
}

// pause waits, and says whether ctx still lives.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
