package jobs

import (
	"context"
	"log/slog"

	"github.com/riverqueue/river"

	"github.com/ottoci/otto/db"
)

// judgedAtOnce bounds the leases that one tick takes away; the next tick goes on.
const judgedAtOnce = 500

type leaseExpireArgs struct{}

func (leaseExpireArgs) Kind() string { return "lease_expire" }

// leaseExpire takes leases away whose agents are lost, late or silent.
type leaseExpire struct {
	river.WorkerDefaults[leaseExpireArgs]
	q   *db.Queries
	log *slog.Logger
}

// Work judges each lease in a transaction of its own: one that cannot be ended does not keep the others. What changed
// since the look is refused by the transition, and that is all right.
func (w *leaseExpire) Work(ctx context.Context, _ *river.Job[leaseExpireArgs]) error {
	judged, err := w.q.LeaseJudge(ctx, judgedAtOnce)
	if err != nil {
		return err
	}
	for _, j := range judged {
		task, err := w.q.TaskInterrupt(ctx, db.TaskInterruptParams{Lease: j.Lease, Epoch: j.Epoch, Why: j.Why, Actor: "job:lease_expire"})
		if _, refused := db.AsRefusal(err); refused {
			continue
		}
		if err != nil {
			w.log.ErrorContext(ctx, "lease could not be ended", "lease", j.Lease, "why", j.Why, "error", err)
			continue
		}
		w.log.InfoContext(ctx, "lease was taken away", "task", task.ID, "attempt", j.Epoch, "why", j.Why, "state", task.State)
	}
	return nil
}
