package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/store"
)

type sourcePlanArgs struct {
	Run int64 `json:"run"`
}

func (sourcePlanArgs) Kind() string { return "source_plan" }

// sourcePlan plans a pending run from its stored source.
type sourcePlan struct {
	river.WorkerDefaults[sourcePlanArgs]
	pool   *pgxpool.Pool
	store  *store.Store
	log    *slog.Logger
	limits pipeline.Limits
}

// Timeout allows for reading a large bundle to its end.
func (w *sourcePlan) Timeout(*river.Job[sourcePlanArgs]) time.Duration { return 2 * time.Minute }

// NextRetry follows soon at first, because a person waits for the run, and then each minute: the store may be away for a while.
func (w *sourcePlan) NextRetry(job *river.Job[sourcePlanArgs]) time.Time {
	return time.Now().Add(min(time.Duration(job.Attempt*job.Attempt)*time.Second, time.Minute))
}

// Work does nothing for a run that somebody has planned, failed or aborted meanwhile.
func (w *sourcePlan) Work(ctx context.Context, job *river.Job[sourcePlanArgs]) error {
	q := db.New(w.pool)
	row, err := q.RunByID(ctx, job.Args.Run)
	if _, gone := db.AsRefusal(err); gone {
		return nil
	}
	if err != nil || row.Run.State != "pending" {
		return err
	}
	file, err := w.read(ctx, row.Run)
	if err == nil {
		err = w.plan(ctx, q, row.Run, file)
	}
	switch {
	case errors.Is(err, errNoOttofile):
		err = w.fail(ctx, q, job.Args.Run, err.Error(), nil)
	case errors.Is(err, store.ErrNotFound):
		err = w.fail(ctx, q, job.Args.Run, "the source bundle "+*row.Run.SourceDigest+" is not in the object store", nil)
	case err != nil && job.Attempt >= job.MaxAttempts: // after some 20 minutes
		err = w.fail(ctx, q, job.Args.Run, fmt.Sprintf("the run cannot be planned, tried %d times: %v", job.Attempt, err), nil)
	}
	if _, refused := db.AsRefusal(err); refused {
		return nil
	}
	return err
}

func (w *sourcePlan) read(ctx context.Context, run db.Run) (pipeline.File, error) {
	bundle, err := w.open(ctx, run)
	if err != nil {
		return pipeline.File{}, err
	}
	defer bundle.Close()
	name := ""
	if run.Ottofile != nil {
		name = *run.Ottofile
	}
	return findOttofile(bundle, name)
}

// open gives the run's source bundle.
func (w *sourcePlan) open(ctx context.Context, run db.Run) (io.ReadCloser, error) {
	key, err := store.SourceKey(*run.SourceDigest)
	if err != nil {
		return nil, err
	}
	bundle, _, err := w.store.Get(ctx, key)
	return bundle, err
}

// facts are what the run was asked for with, and its source.
func (w *sourcePlan) facts(ctx context.Context, q *db.Queries, run db.Run) (pipeline.Facts, *sourceTree, error) {
	tree := &sourceTree{open: func() (io.ReadCloser, error) { return w.open(ctx, run) }}
	facts := pipeline.Facts{Tree: tree, Limits: w.limits}
	rows, err := q.RunFacts(ctx, run.ID)
	if err != nil || len(rows) == 0 {
		return facts, tree, err
	}
	for column, into := range map[*json.RawMessage]any{&rows[0].Event: &facts.Event, &rows[0].Params: &facts.Params} {
		if len(*column) == 0 {
			continue
		}
		if err := json.Unmarshal(*column, into); err != nil {
			return facts, tree, fmt.Errorf("read what run %d was asked for with: %w", run.ID, err)
		}
	}
	return facts, tree, nil
}

func (w *sourcePlan) plan(ctx context.Context, q *db.Queries, row db.Run, file pipeline.File) error {
	run := row.ID
	facts, tree, err := w.facts(ctx, q, row)
	if err != nil {
		return err
	}
	plan, diagnostics := pipeline.Compile(file, facts)
	if tree.broken != nil { // says nothing about the Ottofile
		return tree.broken
	}
	found, err := json.Marshal(diagnostics)
	if err != nil {
		return err
	}
	if diagnostics.HasErrors() {
		return w.fail(ctx, q, run, file.Name+" has errors", found)
	}
	body, digest, err := plan.Encode()
	if err != nil {
		return err
	}
	return db.InTx(ctx, w.pool, func(q *db.Queries) error {
		if _, err := q.PlanStore(ctx, db.PlanStoreParams{Digest: digest, Body: body}); err != nil {
			return err
		}
		_, err := q.RunPlan(ctx, db.RunPlanParams{Run: run, Plan: digest, Diagnostics: found, Actor: "job:source_plan"})
		return err
	})
}

func (w *sourcePlan) fail(ctx context.Context, q *db.Queries, run int64, reason string, diagnostics json.RawMessage) error {
	_, err := q.RunFail(ctx, db.RunFailParams{Run: run, Reason: reason, Diagnostics: diagnostics, Actor: "job:source_plan"})
	return err
}
