package api

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

// maxBatch is the most reports, or new runs, of one transaction. Larger ones gain little: at 50 a task's share of what a
// transaction costs at least is below a tenth of the rest.
const maxBatch = 100

// report is what an agent says of a lease, as otto.tasks_start and otto.tasks_finish read it.
type report struct {
	Lease    uuid.UUID           `json:"lease"`
	Epoch    int                 `json:"epoch"`
	Agent    int64               `json:"agent"`
	Actor    string              `json:"actor"`
	Outcome  *string             `json:"outcome,omitempty"`
	ExitCode *int                `json:"exit_code,omitempty"`
	Reason   *string             `json:"reason,omitempty"`
	Steps    []client.StepReport `json:"steps"`
	Log      *client.LogTotal    `json:"log,omitempty"`
}

type reports = batcher[report, client.LeaseState]

// newStarts collects the words that work begins.
func (a *API) newStarts() *reports {
	return &reports{
		most: maxBatch,
		all: func(ctx context.Context, in []report) (map[int]client.LeaseState, error) {
			rows, err := encoded(in, func(body json.RawMessage) ([]db.TasksStartRow, error) { return a.agents.TasksStart(ctx, body) })
			return taken(in, rows), err
		},
		single: func(ctx context.Context, r report) (client.LeaseState, error) {
			return singly(r, func(steps json.RawMessage) (db.Task, error) {
				return a.agents.TaskStart(ctx, db.TaskStartParams{
					Lease: r.Lease, Epoch: narrow(r.Epoch), Agent: r.Agent, Steps: steps, Actor: r.Actor,
				})
			})
		},
	}
}

// newFinishes collects results.
func (a *API) newFinishes() *reports {
	return &reports{
		most: maxBatch,
		all: func(ctx context.Context, in []report) (map[int]client.LeaseState, error) {
			rows, err := encoded(in, func(body json.RawMessage) ([]db.TasksFinishRow, error) { return a.agents.TasksFinish(ctx, body) })
			return taken(in, rows), err
		},
		single: func(ctx context.Context, r report) (client.LeaseState, error) {
			log, err := json.Marshal(r.Log)
			if err != nil {
				return client.LeaseState{}, err
			}
			return singly(r, func(steps json.RawMessage) (db.Task, error) {
				return a.agents.TaskFinish(ctx, db.TaskFinishParams{
					Lease: r.Lease, Epoch: narrow(r.Epoch), Agent: r.Agent, Outcome: r.Outcome, ExitCode: exitCode32(r.ExitCode), Reason: r.Reason,
					Steps: steps, Log: log, Actor: r.Actor,
				})
			})
		},
	}
}

// taken holds the answered rows against the reports. Of two reports about one lease, both hear the same.
func taken[R db.TasksStartRow | db.TasksFinishRow](in []report, rows []R) map[int]client.LeaseState {
	states := make(map[uuid.UUID]client.LeaseState, len(rows))
	for _, row := range rows {
		r := db.TasksFinishRow(row)
		states[r.Lease] = client.LeaseState{ID: r.Lease.String(), Task: r.Task, State: r.State}
	}
	done := make(map[int]client.LeaseState, len(rows))
	for i, r := range in {
		if state, ok := states[r.Lease]; ok {
			done[i] = state
		}
	}
	return done
}

// singly does one report by itself.
func singly(r report, do func(steps json.RawMessage) (db.Task, error)) (client.LeaseState, error) {
	task, err := encoded(r.Steps, do)
	return encodeState(r.Lease, task), err
}

// encoded passes a value on as JSON.
func encoded[T any](v any, to func(json.RawMessage) (T, error)) (T, error) {
	body, err := json.Marshal(v)
	if err != nil {
		var none T
		return none, err
	}
	return to(body)
}

// startOf and finishOf are an agent's words as reports.
func startOf(who *principal, lease uuid.UUID, start client.LeaseStart) report {
	return report{Lease: lease, Epoch: start.Epoch, Agent: who.agent, Actor: who.actor(), Steps: append([]client.StepReport{}, start.Steps...)}
}

func finishOf(who *principal, lease uuid.UUID, finish client.LeaseFinish) report {
	r := startOf(who, lease, client.LeaseStart{Epoch: finish.Epoch, Steps: finish.Steps})
	r.Outcome, r.ExitCode, r.Reason, r.Log = optional(finish.Outcome), finish.ExitCode, optional(finish.Reason), &finish.Log
	return r
}

func (a *API) leaseStart(ctx context.Context, in *struct {
	LeaseRef
	Body client.LeaseStart
}) (*output[client.LeaseState], error) {
	lease, err := in.id()
	if err != nil {
		return nil, err
	}
	state, err := a.starts.one(ctx, startOf(caller(ctx), lease, in.Body))
	if err != nil {
		return nil, err
	}
	a.wake.Wake(db.TopicEvent)
	return &output[client.LeaseState]{state}, nil
}

func (a *API) leaseFinish(ctx context.Context, in *struct {
	LeaseRef
	Body client.LeaseFinish
}) (*output[client.LeaseState], error) {
	lease, err := in.id()
	if err != nil {
		return nil, err
	}
	state, err := a.finishes.one(ctx, finishOf(caller(ctx), lease, in.Body))
	if err != nil {
		return nil, err
	}
	// The database's wake-up may have come too early: concurrent transactions share one. Ours comes after the commit.
	a.wake.Wake(db.TopicReady, db.TopicEvent)
	return &output[client.LeaseState]{state}, nil
}

// leaseReport takes what an agent says of several leases at once. Each report is taken or refused by itself.
func (a *API) leaseReport(ctx context.Context, in *struct{ Body client.LeaseReports }) (*output[client.LeaseReportsAnswer], error) {
	who, answer := caller(ctx), client.LeaseReportsAnswer{}
	var starts, finishes []report
	for _, r := range in.Body.Starts {
		lease, err := LeaseRef{r.Lease}.id()
		if err != nil {
			return nil, err
		}
		starts = append(starts, startOf(who, lease, r.LeaseStart))
	}
	for _, r := range in.Body.Finishes {
		lease, err := LeaseRef{r.Lease}.id()
		if err != nil {
			return nil, err
		}
		finishes = append(finishes, finishOf(who, lease, r.LeaseFinish))
	}
	answer.Starts = a.resultsOf(ctx, starts, a.starts.call(ctx, starts...), "task_start")
	answer.Finishes = a.resultsOf(ctx, finishes, a.finishes.call(ctx, finishes...), "task_finish")
	a.wake.Wake(db.TopicReady, db.TopicEvent)
	return &output[client.LeaseReportsAnswer]{answer}, nil
}

// resultsOf answers what became of each report.
func (a *API) resultsOf(ctx context.Context, in []report, out []outcome[client.LeaseState], transition string) []client.LeaseResult {
	results := make([]client.LeaseResult, len(in))
	for i, o := range out {
		results[i].LeaseState = o.value
		if o.err == nil {
			a.metrics.transition(transition)
			continue
		}
		results[i].ID = in[i].Lease.String()
		results[i].Problem = (*client.Error)(a.problem(ctx, o.err))
	}
	return results
}
