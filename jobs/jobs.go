// Package jobs works the River jobs that transitions insert: short chores of the control plane, safe to repeat. A step
// of a user is never one of them. No other package works jobs.
package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/store"
)

// Config says what the workers work with.
type Config struct {
	Pool   *pgxpool.Pool
	Store  *store.Store
	Logger *slog.Logger
	// MaxWorkers is how many jobs run at once; 20 if zero.
	MaxWorkers int
	// Plans bounds the plans of runs that are planned here.
	Plans pipeline.Limits
	// Reap is how often leases are judged; 5 s if zero.
	Reap time.Duration
	// Reconcile is how often pending work is derived anew; 20 s if zero.
	Reconcile time.Duration
	// Compact is how often is looked for logs that are over; 5 s if zero.
	Compact time.Duration
	// Prune is how often is looked for what need not be kept any more; 10 s if zero.
	Prune time.Duration
}

// Client runs the workers of one process.
type Client struct {
	river *river.Client[pgx.Tx]
}

// Start backgrounds itself. The periodic jobs are inserted by whichever process is River's leader.
func Start(ctx context.Context, c Config) (*Client, error) {
	c = c.withDefaults()
	q := db.New(c.Pool)
	workers := river.NewWorkers()
	river.AddWorker(workers, &sourcePlan{pool: c.Pool, store: c.Store, log: c.Logger, limits: c.Plans})
	river.AddWorker(workers, &runReconcile{q: q, log: c.Logger})
	river.AddWorker(workers, &taskDecide{q: q, log: c.Logger})
	river.AddWorker(workers, &groupPromote{q: q, log: c.Logger})
	river.AddWorker(workers, &groupSupersede{q: q, log: c.Logger})
	river.AddWorker(workers, &leaseExpire{q: q, log: c.Logger})
	river.AddWorker(workers, &auctionClose{q: q, log: c.Logger})
	river.AddWorker(workers, &awardExpire{q: q, log: c.Logger})
	river.AddWorker(workers, &logCompact{q: q, store: c.Store, log: c.Logger})
	river.AddWorker(workers, &partitionMaintain{q: q, log: c.Logger})
	river.AddWorker(workers, &runsPrune{q: q, log: c.Logger})
	river.AddWorker(workers, &objectsPrune{pool: c.Pool, store: c.Store, log: c.Logger})
	rc, err := river.NewClient(riverpgxv5.New(c.Pool), &river.Config{
		Schema:       "river",
		Workers:      workers,
		Queues:       map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: c.MaxWorkers}},
		PeriodicJobs: periodic(c),
		Logger:       quietly(c.Logger),
		ErrorHandler: &failures{log: c.Logger},
		RetryPolicy:  &retries{},
		// A cooldown of 100 ms, the default, gives a median of 51 ms from insert to work; see docs/development.md.
		FetchCooldown: 10 * time.Millisecond,
		// The latency of a job whose wake-up was lost; each poll is a query, day and night.
		FetchPollInterval:   2 * time.Second,
		FetchOnlyKnownKinds: true,
		JobTimeout:          30 * time.Second,
		// River's rescue is by age alone, so it must be later than any job's own time-out.
		RescueStuckJobsAfter:        10 * time.Minute,
		CompletedJobRetentionPeriod: time.Hour,
		SoftStopTimeout:             5 * time.Second,
		ReindexerIndexNames:         []string{}, // otto_app does not own River's indexes
	})
	if err != nil {
		return nil, fmt.Errorf("set up the workers: %w", err)
	}
	if err := rc.Start(ctx); err != nil {
		return nil, fmt.Errorf("start the workers: %w", err)
	}
	return &Client{river: rc}, nil
}

// Stop takes no more jobs, waits 5 s for those that run, then cancels them; River works them again elsewhere. It may be
// called twice.
func (c *Client) Stop(ctx context.Context) error {
	err := c.river.Stop(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return c.river.StopAndCancel(context.WithoutCancel(ctx))
	}
	return err
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.MaxWorkers == 0 {
		c.MaxWorkers = 20
	}
	if c.Reap == 0 {
		c.Reap = 5 * time.Second
	}
	if c.Reconcile == 0 {
		c.Reconcile = 20 * time.Second
	}
	if c.Compact == 0 {
		c.Compact = 5 * time.Second
	}
	if c.Prune == 0 {
		c.Prune = 10 * time.Second
	}
	return c
}

// periodic lists what runs on a clock. All are level-triggered: a tick that is missed or comes twice changes nothing.
func periodic(c Config) []*river.PeriodicJob {
	every := func(d time.Duration, args river.JobArgs) *river.PeriodicJob {
		insert := func() (river.JobArgs, *river.InsertOpts) { return args, &river.InsertOpts{MaxAttempts: 1} }
		return river.NewPeriodicJob(river.PeriodicInterval(d), insert, &river.PeriodicJobOpts{RunOnStart: true})
	}
	return []*river.PeriodicJob{
		every(c.Reap, leaseExpireArgs{}),
		every(c.Reconcile, runReconcileArgs{}),
		every(time.Hour, partitionMaintainArgs{}),
		every(c.Compact, logCompactArgs{}),
		every(c.Prune, runsPruneArgs{}),
		every(c.Prune, objectsPruneArgs{}),
	}
}

// failures logs jobs that fail. A database that is away is not worth an error for each tick.
type failures struct{ log *slog.Logger }

func (f *failures) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	level := slog.LevelError
	if db.Unavailable(err) || ctx.Err() != nil {
		level = slog.LevelWarn
	}
	f.log.Log(ctx, level, "job failed", "kind", job.Kind, "attempt", job.Attempt, "error", err)
	return nil
}

func (f *failures) HandlePanic(ctx context.Context, job *rivertype.JobRow, panicked any, trace string) *river.ErrorHandlerResult {
	f.log.ErrorContext(ctx, "job panicked", "kind", job.Kind, "attempt", job.Attempt, "panic", panicked, "trace", trace)
	return nil
}
