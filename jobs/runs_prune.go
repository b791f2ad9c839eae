package jobs

import (
	"context"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"github.com/ottoci/otto/db"
)

const (
	// pruneBatch bounds what goes in one transaction, in runs and their tasks, logs, or the like: about 50 ms.
	pruneBatch = 200
	// pruneRest is how long a tick rests after a batch, in times of what that took: retention has a fifth of one
	// connection, however much there is to delete.
	pruneRest = 4
	// pruneFor is for how long a tick goes on; then the next does.
	pruneFor = 8 * time.Second
)

type runsPruneArgs struct{}

func (runsPruneArgs) Kind() string { return "runs_prune" }

// runsPrune deletes what has been over for longer than it is kept: runs with all that is theirs, logs, and plans, sources
// and events that nothing needs.
type runsPrune struct {
	river.WorkerDefaults[runsPruneArgs]
	q   *db.Queries
	log *slog.Logger
}

// pruned counts what a tick has deleted.
type pruned struct{ runs, logs, plans, sources, events int32 }

// Timeout allows for the last batch, which may be one very large run.
func (w *runsPrune) Timeout(*river.Job[runsPruneArgs]) time.Duration {
	return pruneFor + 30*time.Second
}

// Work deletes in batches with rests, until nothing is left or the tick is over. Each batch is a transaction.
func (w *runsPrune) Work(ctx context.Context, _ *river.Job[runsPruneArgs]) error {
	var all pruned
	err := w.prune(ctx, &all)
	if all != (pruned{}) {
		w.log.InfoContext(ctx, "what was over was deleted", "runs", all.runs, "logs", all.logs,
			"plans", all.plans, "sources", all.sources, "events", all.events)
	}
	return err
}

func (w *runsPrune) prune(ctx context.Context, all *pruned) error {
	for end := time.Now().Add(pruneFor); ; {
		began, before := time.Now(), *all
		if err := w.batch(ctx, all); err != nil {
			return err
		}
		if *all == before || time.Now().After(end) {
			return nil
		}
		select {
		case <-time.After(pruneRest * time.Since(began)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// batch deletes a little of everything. Runs go first: what only they need can go after them.
func (w *runsPrune) batch(ctx context.Context, all *pruned) error {
	runs, err := w.q.RunsPrune(ctx, db.RunsPruneParams{AtMost: pruneBatch, Actor: "job:runs_prune"})
	if err != nil {
		return err
	}
	all.runs += runs.Pruned
	all.logs += runs.Logs
	logs, err := w.q.LogsExpire(ctx, db.LogsExpireParams{AtMost: pruneBatch, Actor: "job:runs_prune"})
	if err != nil {
		return err
	}
	all.logs += logs
	for _, kind := range []struct {
		prune func(context.Context, int32) (int32, error)
		count *int32
	}{{w.q.PlansPrune, &all.plans}, {w.q.SourcesPrune, &all.sources}, {w.q.EventsPrune, &all.events}} {
		n, err := kind.prune(ctx, pruneBatch)
		if err != nil {
			return err
		}
		*kind.count += n
	}
	return nil
}
