package api

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/google/uuid"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
)

// maxBatch is the most reports, or new runs, of one transaction. Larger ones gain little: at 50 a task's share of what a
// transaction costs at least is below a tenth of the rest.
const maxBatch = 100

// report is what an agent says of a lease, as otto.reports_take reads it.
type report struct {
	kind      string
	wrong     error               // it cannot be taken
	Lease     uuid.UUID           `json:"lease"`
	Epoch     int                 `json:"epoch"`
	Agent     int64               `json:"agent"`
	Actor     string              `json:"actor"`
	Outcome   *string             `json:"outcome,omitempty"`
	ExitCode  *int                `json:"exit_code,omitempty"`
	Reason    *string             `json:"reason,omitempty"`
	Steps     []client.StepReport `json:"steps"`
	Isolation *int                `json:"isolation,omitempty"`
	Log       *client.LogTotal    `json:"log,omitempty"`
	Outputs   map[string]any      `json:"outputs,omitempty"`
	*chunkRow
}

// chunkRow is a chunk of a log, for a report of that kind.
type chunkRow struct {
	Seq      int32           `json:"seq"`
	Bytes    int32           `json:"bytes"`
	Lines    int32           `json:"lines"`
	Segments json.RawMessage `json:"segments"`
	Data     []byte          `json:"data"`
}

// The kinds of reports, as otto.reports_take names them.
const (
	reportStart  = "start"
	reportLog    = "log"
	reportFinish = "finish"
)

// taken is the answer to a report.
type taken struct {
	state client.LeaseState
	next  int // chunk of the log
}

// newReports collects what agents say of their leases.
func (a *API) newReports() *batcher[report, taken] {
	return &batcher[report, taken]{most: maxBatch, linger: inCrowds, all: a.takeReports, single: a.takeReport}
}

// takeReports does reports in one transaction. Two of a kind about one lease both hear the same: only one of them counts.
func (a *API) takeReports(ctx context.Context, in []report) (map[int]taken, error) {
	byKind := map[string][]report{reportStart: {}, reportLog: {}, reportFinish: {}}
	for _, r := range in {
		if r.wrong == nil {
			byKind[r.kind] = append(byKind[r.kind], r)
		}
	}
	var p db.ReportsTakeParams
	for kind, into := range map[string]*json.RawMessage{reportStart: &p.Starts, reportLog: &p.Logs, reportFinish: &p.Finishes} {
		body, err := json.Marshal(byKind[kind])
		if err != nil {
			return nil, err
		}
		*into = body
	}
	rows, err := a.agents.ReportsTake(ctx, p)
	if err != nil {
		return nil, err
	}
	type about struct {
		kind  string
		lease uuid.UUID
	}
	answers := make(map[about]taken, len(rows))
	for _, row := range rows {
		answers[about{row.Kind, row.Lease}] = taken{client.LeaseState{ID: row.Lease.String(), Task: row.Task, State: row.State}, int(row.Next)}
	}
	done := make(map[int]taken, len(rows))
	for i, r := range in {
		answer, ok := answers[about{r.kind, r.Lease}]
		if ok && r.wrong == nil && (r.kind != reportLog || answer.next == int(r.Seq)+1) {
			done[i] = answer
		}
	}
	return done, nil
}

// takeReport does one report by itself. It waits for whoever holds what it needs, and hears why it is refused.
func (a *API) takeReport(ctx context.Context, r report) (out taken, err error) {
	if r.wrong != nil {
		return out, r.wrong
	}
	if r.kind == reportLog {
		out.next, err = a.appendLog(ctx, []db.LogAppendAllParams{{
			Lease: r.Lease, Epoch: narrow(r.Epoch), Agent: r.Agent, Seq: r.Seq, Bytes: r.Bytes, Lines: r.Lines, Segments: r.Segments, Data: r.Data,
		}})
		return out, err
	}
	steps, err := json.Marshal(r.Steps)
	if err != nil {
		return out, err
	}
	var task db.Task
	if r.kind == reportFinish {
		var log json.RawMessage
		if log, err = json.Marshal(r.Log); err != nil {
			return out, err
		}
		var outputs json.RawMessage
		if len(r.Outputs) > 0 {
			if outputs, err = json.Marshal(r.Outputs); err != nil {
				return out, err
			}
		}
		task, err = a.agents.TaskFinish(ctx, db.TaskFinishParams{
			Lease: r.Lease, Epoch: narrow(r.Epoch), Agent: r.Agent, Outcome: r.Outcome, ExitCode: exitCode32(r.ExitCode), Reason: r.Reason,
			Steps: steps, Log: log, Actor: r.Actor, Outputs: outputs,
		})
	} else {
		task, err = a.agents.TaskStart(ctx, db.TaskStartParams{
			Lease: r.Lease, Epoch: narrow(r.Epoch), Agent: r.Agent, Steps: steps, Actor: r.Actor, Isolation: exitCode32(r.Isolation),
		})
	}
	out.state = encodeState(r.Lease, task)
	return out, err
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
	return report{kind: reportStart, Lease: lease, Epoch: start.Epoch, Agent: who.agent, Actor: who.actor(), Steps: append([]client.StepReport{}, start.Steps...), Isolation: start.Isolation}
}

// logOf is a chunk as a report.
func (a *API) logOf(who *principal, lease uuid.UUID, chunk client.LogChunk) report {
	row, err := a.codec.check(chunk)
	return report{
		kind: reportLog, wrong: err, Lease: lease, Epoch: chunk.Epoch, Agent: who.agent,
		chunkRow: &chunkRow{row.Seq, row.Bytes, row.Lines, row.Segments, row.Data},
	}
}

func (a *API) finishOf(ctx context.Context, lease uuid.UUID, finish client.LeaseFinish) report {
	who := caller(ctx)
	r := startOf(who, lease, client.LeaseStart{Epoch: finish.Epoch, Steps: finish.Steps})
	r.kind, r.Outcome, r.ExitCode, r.Reason, r.Log = reportFinish, optional(finish.Outcome), finish.ExitCode, optional(finish.Reason), &finish.Log
	if r.Outputs = finish.Outputs; len(r.Outputs) > 0 {
		r.wrong = a.checkOutputs(ctx, lease, &r)
	}
	return r
}

// checkOutputs refuses outputs that the task of the caller's lease does not declare. Of a lease that is not the caller's nothing is
// said here: its result is refused. A fragment that does not fit what the task may add fails the task: its agent knows no templates.
func (a *API) checkOutputs(ctx context.Context, lease uuid.UUID, r *report) error {
	rows, err := a.agents.LeaseDeclares(ctx, db.LeaseDeclaresParams{Lease: lease, Agent: caller(ctx).agent})
	if err != nil || len(rows) == 0 {
		return err
	}
	if err := client.CheckOutputs(decodeTo[map[string]string](rows[0].Outputs), r.Outputs); err != nil {
		return newProblem(codeInvalid, "lease %s: %v", lease, err).hint("report the task as failed, with this as the reason")
	}
	if err := pipeline.CheckFragment(rows[0].MayAdd, r.Outputs); err != nil {
		r.Outcome, r.Reason = optional(client.Failed), optional(err.Error())
	}
	return nil
}

func (a *API) leaseStart(ctx context.Context, in *struct {
	LeaseRef
	Body client.LeaseStart
}) (*output[client.LeaseState], error) {
	lease, err := in.id()
	if err != nil {
		return nil, err
	}
	told, err := a.reports.one(ctx, startOf(caller(ctx), lease, in.Body))
	if err != nil {
		return nil, err
	}
	a.wake.Wake(db.TopicEvent)
	return &output[client.LeaseState]{told.state}, nil
}

func (a *API) leaseFinish(ctx context.Context, in *struct {
	LeaseRef
	Body client.LeaseFinish
}) (*output[client.LeaseState], error) {
	lease, err := in.id()
	if err != nil {
		return nil, err
	}
	told, err := a.reports.one(ctx, a.finishOf(ctx, lease, in.Body))
	// The database's wake-up may have come too early: concurrent transactions share one. Ours comes after the commit.
	defer a.wake.Wake(db.TopicReady, db.TopicAbort, db.TopicEvent)
	if err != nil {
		return nil, err
	}
	told.state.Counted = a.dispatch.freed(caller(ctx).agent)
	return &output[client.LeaseState]{told.state}, nil
}

// leaseReport takes what an agent says of several leases at once. Each report is taken or refused by itself.
func (a *API) leaseReport(ctx context.Context, in *struct{ Body client.LeaseReports }) (*output[client.LeaseReportsAnswer], error) {
	who := caller(ctx)
	all, err := a.reportsIn(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	answer := a.answersTo(ctx, all, a.reports.call(ctx, all...))
	for i, f := range answer.Finishes {
		if f.Problem == nil {
			answer.Finishes[i].Counted = a.dispatch.freed(who.agent)
		}
	}
	if a.wake.Wake(db.TopicEvent, db.TopicLog); len(in.Body.Finishes) > 0 {
		a.wake.Wake(db.TopicReady, db.TopicAbort)
	}
	return &output[client.LeaseReportsAnswer]{answer}, nil
}

// reportsIn lists the reports of a request, in the order of its answer.
func (a *API) reportsIn(ctx context.Context, in client.LeaseReports) ([]report, error) {
	who := caller(ctx)
	var all []report
	var wrong error
	about := func(lease string) uuid.UUID {
		id, err := LeaseRef{lease}.id()
		wrong = errors.Join(wrong, err)
		return id
	}
	for _, r := range in.Starts {
		all = append(all, startOf(who, about(r.Lease), r.LeaseStart))
	}
	for _, r := range in.Logs {
		all = append(all, a.logOf(who, about(r.Lease), r.LogChunk))
	}
	for _, r := range in.Finishes {
		all = append(all, a.finishOf(ctx, about(r.Lease), r.LeaseFinish))
	}
	return all, wrong
}

// answersTo says what became of each report.
func (a *API) answersTo(ctx context.Context, in []report, out []outcome[taken]) client.LeaseReportsAnswer {
	answer := client.LeaseReportsAnswer{Starts: []client.LeaseResult{}, Logs: []client.LeaseLogResult{}, Finishes: []client.LeaseResult{}}
	ended := map[uuid.UUID]client.LeaseState{}
	for i, o := range out {
		if in[i].kind == reportFinish && o.err == nil {
			ended[in[i].Lease] = o.value.state
		}
	}
	transitions := map[string]string{reportStart: "task_start", reportLog: "log_append", reportFinish: "task_finish"}
	for i, o := range out {
		var problem *client.Error
		if state, over := ended[in[i].Lease]; over && in[i].kind == reportStart && o.err != nil {
			o.value.state, o.err = state, nil // the request was sent before: its result has ended the lease meanwhile
		}
		if o.err != nil {
			problem = (*client.Error)(a.problem(ctx, o.err))
			o.value.state.ID = in[i].Lease.String()
		} else {
			a.metrics.transition(transitions[in[i].kind])
		}
		switch in[i].kind {
		case reportLog:
			answer.Logs = append(answer.Logs, client.LeaseLogResult{ID: in[i].Lease.String(), LogAck: client.LogAck{Next: o.value.next}, Problem: problem})
		case reportStart:
			answer.Starts = append(answer.Starts, client.LeaseResult{LeaseState: o.value.state, Problem: problem})
		default:
			answer.Finishes = append(answer.Finishes, client.LeaseResult{LeaseState: o.value.state, Problem: problem})
		}
	}
	return answer
}
