package jobs

import (
	"context"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"github.com/ottoci/otto/db"
)

// Somebody who holds a run is done within milliseconds, so the job tries again soon, and later where he is not.
const (
	promoteTries = 20
	promotePause = 50 * time.Millisecond
	promoteLater = time.Second
)

type groupPromoteArgs struct {
	Project int64  `json:"project"`
	Group   string `json:"group"`
}

func (groupPromoteArgs) Kind() string { return "group_promote" }

// groupPromote lets tasks into a concurrency group that has room, where the transition that made the room could not.
type groupPromote struct {
	river.WorkerDefaults[groupPromoteArgs]
	q   *db.Queries
	log *slog.Logger
}

// Work tries until nothing is left that somebody keeps it from.
func (w *groupPromote) Work(ctx context.Context, job *river.Job[groupPromoteArgs]) error {
	for range promoteTries {
		late, err := w.q.GroupPromote(ctx, db.GroupPromoteParams{Project: job.Args.Project, Name: job.Args.Group, Actor: "job:group_promote"})
		if err != nil || !late {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(promotePause):
		}
	}
	w.log.InfoContext(ctx, "group was left for later", "project", job.Args.Project, "group", job.Args.Group)
	return river.JobSnooze(promoteLater)
}
