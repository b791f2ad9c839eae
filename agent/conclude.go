package agent

import (
	"context"
	"errors"

	"github.com/ottoci/otto/client"
)

// conclude tells the server how the lease ended, again and again until it has heard it. It does not wait for the log.
func (t *task) conclude(ctx context.Context, total client.LogTotal) {
	t.orders.Lock()
	t.orders.concluding = true
	t.orders.Unlock()
	if ctx.Err() != nil {
		t.log.WarnContext(ctx, "work dropped", "reason", context.Cause(ctx))
		return
	}
	var err error
	if errors.Is(t.verdict, errStopped) || errors.Is(t.verdict, errDrained) {
		err = t.release(ctx, total)
	} else {
		err = t.finish(ctx, total)
	}
	switch {
	case err == nil:
	case lost(err):
		t.log.WarnContext(ctx, "result refused, the lease is lost", "error", err)
	default:
		// The lease runs out by itself, which the server then acts on.
		t.log.ErrorContext(ctx, "result not accepted", "error", err)
	}
}

// concluding says whether the task's result is on its way, so its work is over.
func (t *task) concluding() bool {
	t.orders.Lock()
	defer t.orders.Unlock()
	return t.orders.concluding
}

func (t *task) release(ctx context.Context, total client.LogTotal) error {
	request := client.LeaseRelease{Epoch: t.lease.Epoch, Reason: shorten(t.verdict.Error()), Log: total}
	err := t.agent.insist(ctx, "release", func(ctx context.Context) error {
		_, err := t.agent.control.LeaseRelease(ctx, t.lease.ID, request)
		return err
	})
	if err == nil {
		t.log.InfoContext(ctx, "lease handed back", "reason", t.verdict)
	}
	return err
}

func (t *task) finish(ctx context.Context, total client.LogTotal) error {
	result := client.LeaseFinish{Epoch: t.lease.Epoch, ExitCode: t.exitCode(), Steps: t.steps, Log: total, Outputs: t.outputs}
	result.Outcome, result.Reason = t.outcome()
	var state client.LeaseState
	err := t.agent.insist(ctx, "finish", func(ctx context.Context) (err error) {
		state, err = t.agent.reports.LeaseFinish(ctx, t.lease.ID, result)
		return err
	})
	if err == nil {
		t.counted = state.Counted
		t.log.InfoContext(ctx, "task finished", "state", state.State, "reason", result.Reason)
	}
	return err
}

// outcome says what the steps do not say of themselves.
func (t *task) outcome() (outcome, reason string) {
	var order stopOrder
	switch {
	case t.verdict == nil:
		return "", ""
	case errors.Is(t.verdict, errTaskTimeout):
		return client.Failed, "timeout"
	case errors.As(t.verdict, &order):
		return client.Aborted, shorten(order.Reason)
	}
	return client.Failed, shorten(t.verdict.Error())
}

// exitCode is that of the step that decided the result: the first of the worst, those that may fail left out.
func (t *task) exitCode() *int {
	severity := map[string]int{client.Succeeded: 1, client.Unstable: 2, client.Aborted: 3, client.Failed: 4}
	var worst client.StepReport
	for i, step := range t.steps {
		if severity[step.State] > severity[worst.State] && !t.lease.Spec.Steps[i].AllowFailure {
			worst = step
		}
	}
	return worst.ExitCode
}
