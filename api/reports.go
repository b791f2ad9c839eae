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

// report is what an agent says of a lease, as otto.reports_take reads it.
type report struct {
	ends     bool                // it is a result; else the word that work begins
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

// newReports collects what agents say of their leases.
func (a *API) newReports() *batcher[report, client.LeaseState] {
	return &batcher[report, client.LeaseState]{most: maxBatch, linger: inCrowds, all: a.takeReports, single: a.takeReport}
}

// takeReports does reports in one transaction. Two about one lease both hear the same: only one of them counts.
func (a *API) takeReports(ctx context.Context, in []report) (map[int]client.LeaseState, error) {
	starts, finishes := []report{}, []report{}
	for _, r := range in {
		if r.ends {
			finishes = append(finishes, r)
		} else {
			starts = append(starts, r)
		}
	}
	var p db.ReportsTakeParams
	var err error
	if p.Starts, err = json.Marshal(starts); err != nil {
		return nil, err
	}
	if p.Finishes, err = json.Marshal(finishes); err != nil {
		return nil, err
	}
	rows, err := a.agents.ReportsTake(ctx, p)
	if err != nil {
		return nil, err
	}
	states := make(map[uuid.UUID]client.LeaseState, len(rows))
	for _, row := range rows {
		states[row.Lease] = client.LeaseState{ID: row.Lease.String(), Task: row.Task, State: row.State}
	}
	done := make(map[int]client.LeaseState, len(rows))
	for i, r := range in {
		if state, ok := states[r.Lease]; ok {
			done[i] = state
		}
	}
	return done, nil
}

// takeReport does one report by itself. It waits for whoever holds what it needs, and hears why it is refused.
func (a *API) takeReport(ctx context.Context, r report) (client.LeaseState, error) {
	steps, err := json.Marshal(r.Steps)
	if err != nil {
		return client.LeaseState{}, err
	}
	var task db.Task
	if r.ends {
		var log json.RawMessage
		if log, err = json.Marshal(r.Log); err != nil {
			return client.LeaseState{}, err
		}
		task, err = a.agents.TaskFinish(ctx, db.TaskFinishParams{
			Lease: r.Lease, Epoch: narrow(r.Epoch), Agent: r.Agent, Outcome: r.Outcome, ExitCode: exitCode32(r.ExitCode), Reason: r.Reason,
			Steps: steps, Log: log, Actor: r.Actor,
		})
	} else {
		task, err = a.agents.TaskStart(ctx, db.TaskStartParams{
			Lease: r.Lease, Epoch: narrow(r.Epoch), Agent: r.Agent, Steps: steps, Actor: r.Actor,
		})
	}
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
	r.ends, r.Outcome, r.ExitCode, r.Reason, r.Log = true, optional(finish.Outcome), finish.ExitCode, optional(finish.Reason), &finish.Log
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
	state, err := a.reports.one(ctx, startOf(caller(ctx), lease, in.Body))
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
	state, err := a.reports.one(ctx, finishOf(caller(ctx), lease, in.Body))
	if err != nil {
		return nil, err
	}
	// The database's wake-up may have come too early: concurrent transactions share one. Ours comes after the commit.
	a.wake.Wake(db.TopicReady, db.TopicEvent)
	return &output[client.LeaseState]{state}, nil
}

// leaseReport takes what an agent says of several leases at once. Each report is taken or refused by itself.
func (a *API) leaseReport(ctx context.Context, in *struct{ Body client.LeaseReports }) (*output[client.LeaseReportsAnswer], error) {
	who := caller(ctx)
	var all []report
	for _, r := range in.Body.Starts {
		lease, err := LeaseRef{r.Lease}.id()
		if err != nil {
			return nil, err
		}
		all = append(all, startOf(who, lease, r.LeaseStart))
	}
	for _, r := range in.Body.Finishes {
		lease, err := LeaseRef{r.Lease}.id()
		if err != nil {
			return nil, err
		}
		all = append(all, finishOf(who, lease, r.LeaseFinish))
	}
	results := a.resultsOf(ctx, all, a.reports.call(ctx, all...))
	begun := len(in.Body.Starts)
	a.wake.Wake(db.TopicReady, db.TopicEvent)
	return &output[client.LeaseReportsAnswer]{client.LeaseReportsAnswer{Starts: results[:begun], Finishes: results[begun:]}}, nil
}

// resultsOf answers what became of each report.
func (a *API) resultsOf(ctx context.Context, in []report, out []outcome[client.LeaseState]) []client.LeaseResult {
	results := make([]client.LeaseResult, len(in))
	for i, o := range out {
		results[i].LeaseState = o.value
		if o.err == nil {
			a.metrics.transition(map[bool]string{false: "task_start", true: "task_finish"}[in[i].ends])
			continue
		}
		results[i].ID = in[i].Lease.String()
		results[i].Problem = (*client.Error)(a.problem(ctx, o.err))
	}
	return results
}
