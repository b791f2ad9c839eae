package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/riverqueue/river"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
)

type taskDecideArgs struct {
	Task int64 `json:"task"`
}

func (taskDecideArgs) Kind() string { return "task_decide" }

// taskDecide works out what the plan left open about a task that would start now.
type taskDecide struct {
	river.WorkerDefaults[taskDecideArgs]
	q   *db.Queries
	log *slog.Logger
}

const (
	decider = "job:task_decide"
	// maxKnown bounds what a decision reads; a single task has at most 256 KiB of outputs.
	maxKnown = 64 << 20
)

// Work does nothing for a task that waits for no decision any more. What cannot be decided fails the task: it would be the same
// the next time.
func (w *taskDecide) Work(ctx context.Context, job *river.Job[taskDecideArgs]) error {
	rows, err := w.q.TaskUndecided(ctx, job.Args.Task)
	if err != nil || len(rows) == 0 {
		return err
	}
	known, err := w.q.OutputsKnown(ctx, db.OutputsKnownParams{Run: rows[0].RunID, AtMost: maxKnown})
	if err != nil {
		return err
	}
	decision, wrong := decide(rows[0], known)
	if wrong != nil {
		err = w.fail(ctx, job.Args.Task, wrong)
	} else {
		err = w.settle(ctx, job.Args.Task, decision)
	}
	if _, refused := db.AsRefusal(err); refused { // somebody was faster
		return nil
	}
	return err
}

// decide asks exactly what stands in the plan.
func decide(row db.TaskUndecidedRow, outputs []db.OutputsKnownRow) (pipeline.Decision, error) {
	var task pipeline.Task
	if err := json.Unmarshal(row.Spec, &task); err != nil {
		return pipeline.Decision{}, fmt.Errorf("the plan cannot be read: %w", err)
	}
	known := pipeline.Known{Outputs: map[string]map[string]any{}, Status: statusOf(row)}
	for _, o := range outputs {
		if o.Outputs == nil {
			return pipeline.Decision{}, fmt.Errorf("the outputs of the run are larger than %d MiB", maxKnown>>20)
		}
		var values map[string]any
		if err := json.Unmarshal(o.Outputs, &values); err != nil {
			return pipeline.Decision{}, fmt.Errorf("the outputs of %s cannot be read: %w", o.Name, err)
		}
		known.Outputs[o.Name] = values
		if o.Base != "" && known.Outputs[o.Base] == nil { // a plan reads a base only where it is that of one task
			known.Outputs[o.Base] = values
		}
	}
	return pipeline.Decide(task, known)
}

// statusOf is what expressions call status: the worst outcome of the run so far.
func statusOf(row db.TaskUndecidedRow) string {
	switch {
	case row.RunState == "aborting":
		return "aborted"
	case row.RunSeverity <= 1:
		return "succeeded"
	}
	return [...]string{2: "unstable", 3: "aborted", 4: "failed"}[row.RunSeverity]
}

func (w *taskDecide) settle(ctx context.Context, task int64, d pipeline.Decision) error {
	values, err := json.Marshal(d.Values)
	if err != nil {
		return err
	}
	p := db.TaskDecideParams{Task: task, Runs: d.Runs, Actor: decider}
	if len(d.Values) > 0 {
		p.Decided = values
	}
	if !d.Runs {
		p.Reason = &d.Reason
	}
	_, err = w.q.TaskDecide(ctx, p)
	return err
}

func (w *taskDecide) fail(ctx context.Context, task int64, wrong error) error {
	_, err := w.q.TaskFail(ctx, db.TaskFailParams{Task: task, Reason: wrong.Error(), Actor: decider})
	if err == nil {
		w.log.InfoContext(ctx, "task could not be decided", "task", task, "reason", wrong)
	}
	return err
}
