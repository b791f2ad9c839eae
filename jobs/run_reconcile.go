package jobs

import (
	"context"
	"log/slog"

	"github.com/riverqueue/river"

	"github.com/ottoci/otto/db"
)

type runReconcileArgs struct{}

func (runReconcileArgs) Kind() string { return "run_reconcile" }

// runReconcile derives all pending work from the state tables, so that losing the job table loses nothing.
type runReconcile struct {
	river.WorkerDefaults[runReconcileArgs]
	q   *db.Queries
	log *slog.Logger
}

// Work calls the one function that knows how.
func (w *runReconcile) Work(ctx context.Context, _ *river.Job[runReconcileArgs]) error {
	found, err := w.q.RunReconcile(ctx, "job:run_reconcile")
	if err != nil {
		return err
	}
	if found.Advanced > 0 {
		w.log.WarnContext(ctx, "stuck runs were repaired", "runs", found.Advanced)
	}
	if found.Planning+found.Deciding+found.Admitting > 0 {
		w.log.InfoContext(ctx, "lost jobs were inserted again", "source_plan", found.Planning, "task_decide", found.Deciding, "group", found.Admitting)
	}
	return nil
}
