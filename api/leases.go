package api

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/store"
)

func (a *API) registerLeases() {
	handle(a, "lease-list", doc{summary: "List the leases that are being worked on"}, a.leaseList)
	handle(a, "lease-take", doc{
		summary:     "Ask for work, and be held until there is some",
		description: "Up to 30 s. An agent has one such request at a time: a newer one ends the one before.",
	}, a.leaseTake)
	handle(a, "lease-report", doc{
		summary:     "Say what became of several leases at once",
		description: "Each report is taken or refused by itself, as by lease-start and lease-finish.",
	}, a.leaseReport)
	handle(a, "lease-start", doc{summary: "Say that the work of a lease begins"}, a.leaseStart)
	handle(a, "lease-steps", doc{summary: "Say what became of steps"}, a.leaseSteps)
	handle(a, "lease-log", doc{
		summary:     "Store a chunk of a lease's log",
		description: "The answer says which chunk is wanted next. Repeating a chunk changes nothing.",
	}, a.leaseLog)
	handle(a, "lease-finish", doc{summary: "Say what became of the task"}, a.leaseFinish)
	handle(a, "lease-release", doc{summary: "Hand a lease back: the task becomes ready again"}, a.leaseRelease)
	handle(a, "lease-source", doc{summary: "Read the source bundle of the lease's run", answers: octets()}, a.leaseSource)
}

type LeaseRef struct {
	Lease string `path:"lease" format:"uuid" doc:"Its id."`
}

// id is the lease; its form was checked before.
func (r LeaseRef) id() (uuid.UUID, error) {
	id, err := uuid.Parse(r.Lease)
	if err != nil {
		return id, newProblem(codeInvalid, "%q is not a lease", r.Lease)
	}
	return id, nil
}

// Held requests end after at most holdTime, plus up to holdSpread so that those of a fleet do not end together.
const (
	holdTime   = 30 * time.Second
	holdSpread = 2 * time.Second
)

func (a *API) leaseTake(ctx context.Context, in *struct{ Body client.LeaseRequest }) (*output[client.LeaseAnswer], error) {
	hold := min(time.Duration(in.Body.WaitMS)*time.Millisecond, holdTime)
	if hold == 0 {
		hold = holdTime
	}
	hold += rand.N(min(holdSpread, hold/10+1))
	return &output[client.LeaseAnswer]{a.dispatch.take(ctx, caller(ctx).agent, in.Body, hold)}, nil
}

func (a *API) leaseSteps(ctx context.Context, in *struct {
	LeaseRef
	Body client.StepReports
}) (*output[client.LeaseState], error) {
	return a.report(ctx, in.LeaseRef, in.Body.Steps, func(lease uuid.UUID, steps json.RawMessage) (db.Task, error) {
		return a.agents.StepReport(ctx, db.StepReportParams{
			Lease: lease, Epoch: narrow(in.Body.Epoch), Agent: caller(ctx).agent, Steps: steps, Actor: caller(ctx).actor(),
		})
	})
}

// report passes what an agent says of a lease on, and answers what its task has become.
func (a *API) report(ctx context.Context, in LeaseRef, steps []client.StepReport, do func(uuid.UUID, json.RawMessage) (db.Task, error)) (*output[client.LeaseState], error) {
	lease, err := in.id()
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(append([]client.StepReport{}, steps...))
	if err != nil {
		return nil, err
	}
	task, err := do(lease, encoded)
	if err != nil {
		return nil, err
	}
	a.wake.Wake(db.TopicEvent)
	return &output[client.LeaseState]{encodeState(lease, task)}, nil
}

func (a *API) leaseRelease(ctx context.Context, in *struct {
	LeaseRef
	Body client.LeaseRelease
}) (*output[client.LeaseState], error) {
	lease, err := in.id()
	if err != nil {
		return nil, err
	}
	log, err := json.Marshal(in.Body.Log)
	if err != nil {
		return nil, err
	}
	task, err := a.agents.TaskRelease(ctx, db.TaskReleaseParams{
		Lease: lease, Epoch: narrow(in.Body.Epoch), Agent: caller(ctx).agent, Reason: &in.Body.Reason, Log: log, Actor: caller(ctx).actor(),
	})
	a.wake.Wake(db.TopicReady, db.TopicEvent)
	if err != nil {
		return nil, err
	}
	return &output[client.LeaseState]{encodeState(lease, task)}, nil
}

// ownLease reads a lease of the agent that asks.
func (a *API) ownLease(ctx context.Context, lease uuid.UUID) (db.Lease, error) {
	l, err := a.agents.LeaseByID(ctx, lease)
	if err != nil {
		return l, missing(err, "lease %s", lease)
	}
	if l.AgentID != caller(ctx).agent {
		return l, newProblem(codeForbidden, "lease %s belongs to another agent", lease)
	}
	return l, nil
}

// leaseSource streams the bundle to the holder of a living lease.
func (a *API) leaseSource(ctx context.Context, in *struct{ LeaseRef }) (*huma.StreamResponse, error) {
	lease, err := in.id()
	if err != nil {
		return nil, err
	}
	l, err := a.ownLease(ctx, lease)
	if err != nil {
		return nil, err
	}
	digest, err := a.agents.LeaseSource(ctx, db.LeaseSourceParams{Lease: lease, Agent: caller(ctx).agent})
	if err != nil {
		return nil, missingLease(err, l)
	}
	if digest == "" {
		return nil, newProblem(codeNotFound, "run %d has no source", l.RunID)
	}
	key, err := store.SourceKey(digest)
	if err != nil {
		return nil, err
	}
	object, size, err := a.cfg.Store.Get(ctx, key)
	if err != nil {
		return nil, a.storeProblem(ctx, err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer object.Close()
		_, w := humago.Unwrap(hc)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		w.Header().Set("X-Otto-Source", digest)
		out := newStream(w)
		if _, err := io.Copy(out, object); err != nil {
			panic(http.ErrAbortHandler) // the length is wrong, so the agent sees that it is not whole
		}
	}}, nil
}

// missingLease says that a lease is over, which is why its source was not found.
func missingLease(err error, l db.Lease) error {
	if _, ok := db.AsRefusal(err); !ok {
		return err
	}
	return newProblem(client.CodeFenced, "attempt %d of task %d is over (%s)", l.Epoch, l.TaskID, text(l.EndReason)).hint("the lease is lost: stop its work")
}

func (a *API) leaseList(ctx context.Context, in *struct {
	Paging
	Agent int64 `query:"agent" minimum:"0" doc:"Only leases of this agent."`
}) (*pageOutput[client.LeaseInfo], error) {
	after, err := in.Paging.number()
	if err != nil {
		return nil, err
	}
	rows, err := a.users.LeasesActive(ctx, db.LeasesActiveParams{Agent: in.Agent, After: after, AtMost: in.atMost()})
	if err != nil {
		return nil, err
	}
	return pageOf(in.Paging, rows, encodeLeaseInfo, func(r db.LeasesActiveRow) string { return decimal(r.Lease.TaskID) }), nil
}

func exitCode32(code *int) *int32 {
	if code == nil {
		return nil
	}
	n := narrow(*code)
	return &n
}
