package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/riverqueue/river"

	"github.com/ottoci/otto/db"
)

type groupSupersedeArgs struct {
	Project int64  `json:"project"`
	Group   string `json:"group"`
}

func (groupSupersedeArgs) Kind() string { return "group_supersede" }

// groupSupersede aborts the tasks of a concurrency group that a newer run does not wait for.
type groupSupersede struct {
	river.WorkerDefaults[groupSupersedeArgs]
	q   *db.Queries
	log *slog.Logger
}

// Work aborts each in a transaction of its own. What changed since the look is refused by the transition, and that is all right.
func (w *groupSupersede) Work(ctx context.Context, job *river.Job[groupSupersedeArgs]) error {
	found, err := w.q.GroupSuperseded(ctx, db.GroupSupersededParams{Project: job.Args.Project, Name: job.Args.Group})
	if err != nil {
		return err
	}
	var failed error
	for _, s := range found {
		task, err := w.q.TaskSupersede(ctx, db.TaskSupersedeParams{Task: s.Task, Run: s.Run, Actor: "job:group_supersede"})
		if _, refused := db.AsRefusal(err); refused {
			continue
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("supersede task %d: %w", s.Task, err))
			continue
		}
		w.log.InfoContext(ctx, "task was superseded", "task", s.Task, "by_run", s.Run, "group", job.Args.Group, "state", task.State)
	}
	return failed
}
