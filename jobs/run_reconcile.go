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
	if found.Planning+found.Deciding+found.Admitting+found.Auctioning > 0 {
		w.log.InfoContext(ctx, "lost jobs were inserted again", "source_plan", found.Planning, "task_decide", found.Deciding, "group", found.Admitting, "auction", found.Auctioning)
	}
	return w.starve(ctx)
}

// starvedAtOnce bounds the tasks that one tick gives up; the next goes on.
const starvedAtOnce = 100

// starve gives up tasks that nobody could run for too long, each in a transaction of its own.
func (w *runReconcile) starve(ctx context.Context) error {
	tasks, err := w.q.TasksStarved(ctx, starvedAtOnce)
	if err != nil {
		return err
	}
	for _, id := range tasks {
		task, err := w.q.TaskStarve(ctx, db.TaskStarveParams{Task: id, Actor: "job:run_reconcile"})
		if _, refused := db.AsRefusal(err); refused {
			continue
		}
		if err != nil {
			return err
		}
		w.log.WarnContext(ctx, "task was given up: nobody could run it", "task", task.ID, "run", task.RunID, "state", task.State)
	}
	return nil
}
