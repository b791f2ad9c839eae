package api

import (
	"context"
	"net/http"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

func (a *API) registerTasks() {
	handle(a, "task-show", doc{summary: "Read a task with its attempts and their steps"}, a.taskShow)
	handle(a, "task-why", doc{
		summary: "Say why a task does not run", description: "The tree of what holds it back, by the rules that hand out tasks. Without blockers, nothing does.",
	}, a.taskWhy)
	handle(a, "task-abort", doc{
		summary: "Abort one task", description: "At once if it has not started, else by its agent.",
	}, a.taskAbort)
}

type TaskRef struct {
	Task int64 `path:"task" minimum:"1" doc:"Number of the task."`
}

func (a *API) taskShow(ctx context.Context, in *struct{ TaskRef }) (*output[client.TaskDetail], error) {
	var out client.TaskDetail
	err := a.snapshot(ctx, func(q *db.Queries) (err error) {
		out, err = readTask(ctx, q, in.Task)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &output[client.TaskDetail]{out}, nil
}

func (a *API) taskWhy(ctx context.Context, in *struct{ TaskRef }) (*output[client.TaskWhy], error) {
	why, err := a.users.TaskWhy(ctx, in.Task)
	if err != nil {
		return nil, err
	}
	return &output[client.TaskWhy]{decodeTo[client.TaskWhy](why)}, nil
}

// readTask reads a task with all its attempts.
func readTask(ctx context.Context, q *db.Queries, task int64) (client.TaskDetail, error) {
	out := client.TaskDetail{Attempts: []client.Attempt{}}
	row, err := q.TaskByID(ctx, task)
	if err != nil {
		return out, missing(err, "task %d", task)
	}
	out.Task = encodeTask(row)
	attempts, err := q.AttemptsOfTask(ctx, task)
	if err != nil {
		return out, err
	}
	steps, err := q.StepsOfTask(ctx, task)
	if err != nil {
		return out, err
	}
	of := map[int32][]client.Step{}
	for _, s := range steps {
		of[s.Epoch] = append(of[s.Epoch], encodeStep(s))
	}
	for _, r := range attempts {
		attempt := encodeAttempt(r)
		attempt.Steps = append(attempt.Steps, of[r.Lease.Epoch]...)
		out.Attempts = append(out.Attempts, attempt)
	}
	out.Steps = of[row.Task.Epoch]
	auctions, err := q.AuctionList(ctx, db.AuctionListParams{Task: task, AtMost: maxPage})
	if err != nil {
		return out, err
	}
	for _, r := range auctions {
		out.Auctions = append(out.Auctions, encodeAuction(r))
	}
	outputs, err := q.OutputsOfTask(ctx, task)
	for _, o := range outputs {
		out.Outputs = decodeTo[map[string]any](o)
	}
	return out, err
}

func (a *API) taskAbort(ctx context.Context, in *struct {
	TaskRef
	Idempotent
	Body *client.RunAbort
}) (*answer[client.Task], error) {
	reason := ""
	if in.Body != nil {
		reason = in.Body.Reason
	}
	out, err := mutate(ctx, a.cfg.Pool, in.Key, func(q *db.Queries) (answer[client.Task], error) {
		task, err := q.TaskAbort(ctx, db.TaskAbortParams{Task: in.Task, Actor: caller(ctx).actor(), Reason: optional(reason)})
		if err != nil {
			return answer[client.Task]{}, err
		}
		row, err := q.TaskByID(ctx, task.ID)
		return answer[client.Task]{Status: http.StatusOK, Body: encodeTask(row)}, err
	})
	a.wake.Wake(db.TopicAbort, db.TopicReady, db.TopicEvent)
	return out, err
}
