package agent

import (
	"context"
	"sync"

	"github.com/ottoci/otto/client"
)

// reporter sends what becomes of a task's steps while the task goes on. Reports that pile up while the server is away, or
// slow, go in one call. Those that it does not get rid of are not lost: the result names every step.
type reporter struct {
	agent *Agent
	lease client.Lease
	lost  func(error)
	wake  chan struct{}

	mu    sync.Mutex
	queue []client.StepReport
}

func newReporter(a *Agent, lease client.Lease, lost func(error)) *reporter {
	return &reporter{agent: a, lease: lease, lost: lost, wake: make(chan struct{}, 1)}
}

// add queues reports; those of one call stay together.
func (r *reporter) add(reports []client.StepReport) {
	r.mu.Lock()
	r.queue = append(r.queue, reports...)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reporter) take() []client.StepReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	batch := r.queue
	r.queue = nil
	return batch
}

// run sends what is queued until ctx ends.
func (r *reporter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		batch := r.take()
		if len(batch) == 0 {
			continue
		}
		err := r.agent.insist(ctx, "steps", func(ctx context.Context) error {
			_, err := r.agent.control.LeaseSteps(ctx, r.lease.ID, client.StepReports{Epoch: r.lease.Epoch, Steps: batch})
			return err
		})
		switch {
		case err == nil || ctx.Err() != nil:
		case lost(err):
			r.lost(err)
			return
		default:
			r.agent.log.ErrorContext(ctx, "step reports refused", "lease", r.lease.ID, "error", err)
		}
	}
}

// lost says whether a refusal means that the lease is not the agent's any more: fenced, or unknown to a server that was
// restored from a backup.
func lost(err error) bool {
	return client.IsFenced(err) || client.IsStatus(err, 404) || client.IsStatus(err, 410)
}
