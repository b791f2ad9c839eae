package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

func (a *API) registerRuns() {
	handle(a, "run-create", doc{
		summary:     "Start a run",
		description: "From a stored plan it starts at once; from a source it is planned first.",
		status:      http.StatusCreated,
	}, a.runCreate)
	handle(a, "run-list", doc{summary: "List runs, newest first"}, a.runList)
	handle(a, "run-show", doc{summary: "Read a run with its stages, tasks and steps"}, a.runShow)
	handle(a, "run-plan-show", doc{
		summary: "Read the plan of a run", description: "See plan-show.", answers: planForms(),
	}, a.runPlanShow)
	aborting := doc{
		summary:     "Abort a run",
		description: "What has not begun stops at once, and the agents of what runs are told. A second time what is marked always stops, too.",
	}
	handle(a, "run-abort", aborting, a.runAbort)
	aborting.hidden = true
	handle(a, "run-cancel", aborting, a.runAbort)
	handle(a, "run-rerun", doc{
		summary: "Repeat a final run as a new one", description: "With the same plan and source.", status: http.StatusCreated,
	}, a.runRerun)
}

// RunRef is a part of the input of every operation on a run.
type RunRef struct {
	Run string `path:"run" maxLength:"36" doc:"Its number, its run id, or latest." example:"42"`
}

// number finds the run's number.
func (r RunRef) number(ctx context.Context, q *db.Queries) (int64, error) {
	if n, err := strconv.ParseInt(r.Run, 10, 64); err == nil && n > 0 {
		return n, nil
	}
	if r.Run == "latest" {
		n, err := q.RunLatest(ctx)
		if err != nil {
			return 0, missing(err, "a run")
		}
		return n, nil
	}
	id, err := uuid.Parse(r.Run)
	if err != nil {
		return 0, newProblem(codeInvalid, "%q is not a run", r.Run).hint("give its number, its run id, or latest")
	}
	n, err := q.RunByUUID(ctx, id)
	if err != nil {
		return 0, missing(err, "run %s", id)
	}
	return n, nil
}

// defaultProject takes the runs that name no project.
const defaultProject = "default"

func (a *API) runCreate(ctx context.Context, in *struct {
	Idempotent
	Body client.RunCreate
}) (*answer[client.Run], error) {
	if err := checkRun(in.Body); err != nil {
		return nil, err
	}
	project := in.Body.Project
	if project == "" {
		project = defaultProject
	}
	params := db.RunCreateParams{
		Project: project, Source: optional(in.Body.Source), Ottofile: optional(in.Body.Ottofile), Plan: optional(in.Body.Plan),
		Actor: caller(ctx).actor(), Repository: optional(in.Body.Repository), Ref: optional(in.Body.Ref), Commit: optional(in.Body.Commit),
	}
	if in.Body.Priority != 0 {
		priority := narrow(in.Body.Priority)
		params.Priority = &priority
	}
	var err error
	if params.Event, params.Params, err = factsIn(in.Body.Event, in.Body.Params); err != nil {
		return nil, err
	}
	req := requestOf(ctx)
	out, err := a.creates.one(ctx, creation{who: req.who, key: in.Key, hash: fingerprint(req), params: params})
	a.wake.Wake(db.TopicReady, db.TopicEvent)
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// checkRun says what is wrong with a run that is asked for.
func checkRun(in client.RunCreate) error {
	switch {
	case in.Repository == "" && (in.Ref != "" || in.Commit != ""):
		return newProblem(codeInvalid, "a ref or a commit is of a repository, and none is given")
	case in.Repository == "" && in.Source == "" && in.Plan == "":
		return newProblem(codeInvalid, "a run needs a source or a plan").hint("upload one: PUT /v1/sources/{digest}, or POST /v1/plans")
	case in.Repository == "":
		return nil
	case in.Source != "":
		return newProblem(codeInvalid, "a run has either a source or a repository")
	case in.Plan == "":
		return newProblem(codeInvalid, "a run of a repository needs a plan: this server fetches nothing").hint("POST /v1/plans with the Ottofile of the commit, as otto run --repo does")
	}
	if err := (client.Checkout{Repository: in.Repository, Ref: in.Ref, Commit: in.Commit}).Check(); err != nil {
		return newProblem(codeInvalid, "%v", err)
	}
	return nil
}

// created answers a new run.
func created(ctx context.Context, q *db.Queries, run db.Run, err error) (answer[client.Run], error) {
	out, err := current(ctx, q, run, err)
	out.Status, out.Location = http.StatusCreated, fmt.Sprintf("/v1/runs/%d", run.ID)
	return out, err
}

// current answers a run that a transition has moved, with the names that its row does not hold.
func current(ctx context.Context, q *db.Queries, run db.Run, err error) (answer[client.Run], error) {
	if err != nil {
		return answer[client.Run]{}, err
	}
	row, err := q.RunByID(ctx, run.ID)
	if err != nil {
		return answer[client.Run]{}, err
	}
	return answer[client.Run]{Status: http.StatusOK, Body: encodeRun(row.Run, row.Project, row.Name)}, nil
}

func (a *API) runAbort(ctx context.Context, in *struct {
	RunRef
	Idempotent
	Body *client.RunAbort
}) (*answer[client.Run], error) {
	reason := ""
	if in.Body != nil {
		reason = in.Body.Reason
	}
	out, err := mutate(ctx, a.cfg.Pool, in.Key, func(q *db.Queries) (answer[client.Run], error) {
		run, err := in.number(ctx, q)
		if err != nil {
			return answer[client.Run]{}, err
		}
		row, err := q.RunAbort(ctx, db.RunAbortParams{Run: run, Actor: caller(ctx).actor(), Reason: optional(reason)})
		return current(ctx, q, row, err)
	})
	a.wake.Wake(db.TopicAbort, db.TopicReady, db.TopicEvent)
	return out, err
}

func (a *API) runRerun(ctx context.Context, in *struct {
	RunRef
	Idempotent
}) (*answer[client.Run], error) {
	out, err := mutate(ctx, a.cfg.Pool, in.Key, func(q *db.Queries) (answer[client.Run], error) {
		run, err := in.number(ctx, q)
		if err != nil {
			return answer[client.Run]{}, err
		}
		row, err := q.RunRerun(ctx, db.RunRerunParams{Run: run, Actor: caller(ctx).actor()})
		return created(ctx, q, row, err)
	})
	a.wake.Wake(db.TopicReady, db.TopicEvent)
	return out, err
}

func (a *API) runList(ctx context.Context, in *struct {
	Paging
	State   []string  `query:"state,explode" doc:"Only runs in these states. Other spellings, such as Success or cancelled, are understood."`
	Project string    `query:"project" maxLength:"100" doc:"Only runs of this project."`
	Since   time.Time `query:"since" doc:"Only runs created at or after this time."`
	Until   time.Time `query:"until" doc:"Only runs created before this time."`
}) (*pageOutput[client.Run], error) {
	before, err := in.Paging.number()
	if err != nil {
		return nil, err
	}
	states, err := runStates(in.State)
	if err != nil {
		return nil, err
	}
	rows, err := a.users.RunList(ctx, db.RunListParams{
		Before: before, States: states, Project: in.Project, Since: optional(in.Since), Until: optional(in.Until), AtMost: in.atMost(),
	})
	if err != nil {
		return nil, err
	}
	return pageOf(in.Paging, rows,
		func(r db.RunListRow) client.Run { return encodeRun(r.Run, r.Project, r.Name) },
		func(r db.RunListRow) string { return decimal(r.Run.ID) }), nil
}

func (a *API) runPlanShow(ctx context.Context, in *struct {
	RunRef
	PlanForm
}) (*planOutput, error) {
	run, err := in.number(ctx, a.users)
	if err != nil {
		return nil, err
	}
	plan, err := a.users.PlanOfRun(ctx, run)
	if err != nil {
		return nil, missing(err, "a plan of run %d", run)
	}
	return in.encode(plan.Digest, plan.Body)
}

// snapshot runs f in a transaction that sees one moment, so that a run and its tasks agree with each other.
func (a *API) snapshot(ctx context.Context, f func(*db.Queries) error) error {
	moment := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return pgx.BeginTxFunc(ctx, a.cfg.Pool, moment, func(tx pgx.Tx) error { return f(db.New(tx)) })
}

func (a *API) runShow(ctx context.Context, in *struct{ RunRef }) (*output[client.RunDetail], error) {
	var out client.RunDetail
	err := a.snapshot(ctx, func(q *db.Queries) error {
		run, err := in.number(ctx, q)
		if err != nil {
			return err
		}
		out, err = readRun(ctx, q, run)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &output[client.RunDetail]{out}, nil
}

// outputsShown is how many bytes of outputs are shown with a run; a task alone may have 256 KiB.
const outputsShown = 4 << 20

// readRun reads a run with all that belongs to it.
func readRun(ctx context.Context, q *db.Queries, run int64) (client.RunDetail, error) {
	var out client.RunDetail
	row, err := q.RunByID(ctx, run)
	if err != nil {
		return out, missing(err, "run %d", run)
	}
	stages, err := q.StagesOfRun(ctx, run)
	if err != nil {
		return out, err
	}
	tasks, err := q.TasksOfRun(ctx, run)
	if err != nil {
		return out, err
	}
	steps, err := q.StepsOfRun(ctx, run)
	if err != nil {
		return out, err
	}
	of := map[int64][]client.Step{}
	for _, s := range steps {
		of[s.TaskID] = append(of[s.TaskID], encodeStep(s))
	}
	outputs, err := q.OutputsOfRun(ctx, db.OutputsOfRunParams{Run: run, AtMost: outputsShown})
	if err != nil {
		return out, err
	}
	said := map[int64]db.OutputsOfRunRow{}
	for _, o := range outputs {
		said[o.TaskID] = o
	}
	out.Run = encodeRun(row.Run, row.Project, row.Name)
	out.Stages = make([]client.Stage, 0, len(stages))
	at := map[int64]int{}
	for i, s := range stages {
		at[s.ID] = i
		out.Stages = append(out.Stages, encodeStage(s))
	}
	for _, t := range tasks {
		task := encodeTask(db.TaskByIDRow(t))
		task.Steps = of[t.Task.ID]
		if o, ok := said[t.Task.ID]; ok {
			task.Outputs, task.OutputsElsewhere = decodeTo[map[string]any](o.Outputs), o.Outputs == nil
		}
		stage := &out.Stages[at[t.Task.StageID]]
		stage.Tasks = append(stage.Tasks, task)
	}
	return out, nil
}
