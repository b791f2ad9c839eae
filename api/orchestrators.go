package api

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

func (a *API) registerOrchestrators() {
	handle(a, "orchestrator-enrol", doc{
		summary: "Enrol an orchestrator", description: "Uses the enrolment token up; the answer holds the orchestrator's own credential, this once.",
		status: http.StatusCreated,
	}, a.orchestratorEnrol)
	handle(a, "orchestrator-list", doc{summary: "List orchestrators, with what they offer"}, a.orchestratorList)
	handle(a, "orchestrator-show", doc{summary: "Read an orchestrator"}, a.orchestratorShow)
	handle(a, "orchestrator-disable", doc{
		summary: "Take an orchestrator out of service", description: "It wins nothing any more, and what it has won is for the next bid.",
	}, a.orchestratorDisable)
	handle(a, "orchestrator-enable", doc{summary: "Let an orchestrator back into service"}, a.orchestratorEnable)
	handle(a, "orchestrator-hello", doc{
		summary:     "Say that the orchestrator program has started, and what it can start",
		description: "Templates that it does not name any more are offered no more. Awards stay its own.",
	}, a.orchestratorHello)
	handle(a, "orchestrator-heartbeat", doc{summary: "Say that the orchestrator lives", description: "Asking for demand says so, too."}, a.orchestratorHeartbeat)
	handle(a, "orchestrator-bye", doc{summary: "Say that the orchestrator ends", description: "It bids no more. Agents of what it has won may still come."}, a.orchestratorBye)
	handle(a, "enrolment-create", doc{
		summary: "Make a token for an agent of a template", description: "The agent takes whatever work fits it.", status: http.StatusCreated,
	}, a.enrolmentCreate)
	a.registerAuctions()
}

// templatesOf writes templates as the database keeps them.
func templatesOf(templates []client.Template) (json.RawMessage, error) {
	list := make([]map[string]any, 0, len(templates))
	for _, t := range templates {
		offers := maps.Clone(t.Offers)
		if offers == nil {
			offers = map[string]any{}
		}
		if t.Protocol == nil {
			t.Protocol = client.AgentFeatures()
		}
		offers[offerProtocol] = t.Protocol
		list = append(list, map[string]any{"name": t.Name, "offers": offers, "price": t.Price, "start_ms": t.StartMS, "instances": t.Instances})
	}
	return json.Marshal(list)
}

func (a *API) orchestratorEnrol(ctx context.Context, in *struct {
	Idempotent
	Body client.OrchestratorOffer
}) (*answer[client.OrchestratorEnrolled], error) {
	templates, err := templatesOf(in.Body.Templates)
	if err != nil {
		return nil, err
	}
	return mutate(ctx, a.agentPool, in.Key, func(q *db.Queries) (out answer[client.OrchestratorEnrolled], err error) {
		secret, hash := NewToken(kindOrchestrator)
		o, err := q.OrchestratorEnrol(ctx, db.OrchestratorEnrolParams{
			Enrol: caller(ctx).token, Hash: hash, Name: in.Body.Name, Version: in.Body.Version, Templates: templates, Actor: caller(ctx).actor(),
		})
		if err != nil {
			return out, err
		}
		row, err := orchestratorRow(ctx, q, o.ID)
		if err != nil {
			return out, err
		}
		cluster, err := q.ClusterSettings(ctx)
		return answer[client.OrchestratorEnrolled]{
			http.StatusCreated, "/v1/orchestrators/" + decimal(o.ID),
			client.OrchestratorEnrolled{Orchestrator: encodeOrchestrator(row), Token: secret, Settings: orchestratorSettings(cluster)},
		}, err
	})
}

func orchestratorSettings(c db.Cluster) client.OrchestratorSettings {
	return client.OrchestratorSettings{
		HeartbeatMS: c.Heartbeat.Milliseconds(), SilenceMS: c.LeaseTtl.Milliseconds(),
		WindowMS: c.AuctionWindow.Milliseconds(), AwardWithinMS: c.AwardWithin.Milliseconds(),
	}
}

func (a *API) orchestratorHello(ctx context.Context, in *struct{ Body client.OrchestratorOffer }) (*output[client.OrchestratorWelcome], error) {
	templates, err := templatesOf(in.Body.Templates)
	if err != nil {
		return nil, err
	}
	o, err := a.agents.OrchestratorHello(ctx, db.OrchestratorHelloParams{
		Orchestrator: caller(ctx).orchestrator, Name: in.Body.Name, Version: in.Body.Version, Templates: templates, Actor: caller(ctx).actor(),
	})
	if err != nil {
		return nil, err
	}
	a.wake.Wake(db.TopicAuction, db.TopicEvent)
	return a.welcome(ctx, o.ID)
}

func (a *API) orchestratorHeartbeat(ctx context.Context, _ *struct{}) (*output[client.OrchestratorWelcome], error) {
	o, err := a.agents.OrchestratorBeat(ctx, db.OrchestratorBeatParams{Orchestrator: caller(ctx).orchestrator, Actor: caller(ctx).actor()})
	if err != nil {
		return nil, err
	}
	return a.welcome(ctx, o.ID)
}

func (a *API) welcome(ctx context.Context, orchestrator int64) (*output[client.OrchestratorWelcome], error) {
	cluster, err := a.agents.ClusterSettings(ctx)
	if err != nil {
		return nil, err
	}
	return &output[client.OrchestratorWelcome]{client.OrchestratorWelcome{Orchestrator: orchestrator, Settings: orchestratorSettings(cluster)}}, nil
}

func (a *API) orchestratorBye(ctx context.Context, _ *struct{}) (*struct{}, error) {
	_, err := a.agents.OrchestratorBye(ctx, db.OrchestratorByeParams{Orchestrator: caller(ctx).orchestrator, Actor: caller(ctx).actor()})
	a.wake.Wake(db.TopicEvent)
	return nil, err
}

type OrchestratorRef struct {
	Orchestrator int64 `path:"orchestrator" minimum:"1" doc:"Number of the orchestrator."`
}

func (a *API) orchestratorList(ctx context.Context, in *struct{ Paging }) (*pageOutput[client.Orchestrator], error) {
	after, err := in.number()
	if err != nil {
		return nil, err
	}
	rows, err := a.users.OrchestratorList(ctx, db.OrchestratorListParams{After: after, AtMost: in.atMost()})
	if err != nil {
		return nil, err
	}
	return pageOf(in.Paging, rows, encodeOrchestrator, func(r db.OrchestratorListRow) string { return decimal(r.Orchestrator.ID) }), nil
}

func (a *API) orchestratorShow(ctx context.Context, in *struct{ OrchestratorRef }) (*output[client.Orchestrator], error) {
	row, err := orchestratorRow(ctx, a.users, in.Orchestrator)
	if err != nil {
		return nil, err
	}
	return &output[client.Orchestrator]{encodeOrchestrator(row)}, nil
}

func orchestratorRow(ctx context.Context, q *db.Queries, orchestrator int64) (db.OrchestratorListRow, error) {
	rows, err := q.OrchestratorList(ctx, db.OrchestratorListParams{Which: orchestrator, AtMost: 1})
	if err != nil {
		return db.OrchestratorListRow{}, err
	}
	if len(rows) == 0 {
		return db.OrchestratorListRow{}, newProblem(codeNotFound, "orchestrator %d does not exist", orchestrator)
	}
	return rows[0], nil
}

func encodeOrchestrator(r db.OrchestratorListRow) client.Orchestrator {
	o := r.Orchestrator
	templates := decodeTo[[]client.Template](r.Templates)
	for i := range templates {
		templates[i].Protocol = protocolIn(templates[i].Offers)
		delete(templates[i].Offers, offerProtocol)
	}
	return client.Orchestrator{
		Orchestrator: o.ID, Name: o.Name, State: o.State, Version: o.Version, Agents: int(r.Agents), Awards: int(r.Awards),
		Templates: templates, SuspendedUntil: utc(o.SuspendedUntil), SeenAt: o.SeenAt.UTC(), Enrolled: o.EnrolledAt.UTC(),
	}
}

// protocolIn reads the features of the protocol from what is offered.
func protocolIn(offers map[string]any) (features []string) {
	list, _ := offers[offerProtocol].([]any)
	for _, feature := range list {
		if word, ok := feature.(string); ok {
			features = append(features, word)
		}
	}
	return features
}

type orchestratorSwitch struct {
	OrchestratorRef
	Idempotent
}

func (a *API) orchestratorDisable(ctx context.Context, in *orchestratorSwitch) (*answer[client.Orchestrator], error) {
	return a.orchestratorSwitch(ctx, in, db.OrchestratorDisableParams{Orchestrator: in.Orchestrator, Disabled: true, Actor: caller(ctx).actor()})
}

func (a *API) orchestratorEnable(ctx context.Context, in *orchestratorSwitch) (*answer[client.Orchestrator], error) {
	return a.orchestratorSwitch(ctx, in, db.OrchestratorDisableParams{Orchestrator: in.Orchestrator, Actor: caller(ctx).actor()})
}

func (a *API) orchestratorSwitch(ctx context.Context, in *orchestratorSwitch, to db.OrchestratorDisableParams) (*answer[client.Orchestrator], error) {
	out, err := mutate(ctx, a.cfg.Pool, in.Key, func(q *db.Queries) (out answer[client.Orchestrator], err error) {
		if _, err := q.OrchestratorDisable(ctx, to); err != nil {
			return out, err
		}
		row, err := orchestratorRow(ctx, q, in.Orchestrator)
		return answer[client.Orchestrator]{Status: http.StatusOK, Body: encodeOrchestrator(row)}, err
	})
	a.wake.Wake(db.TopicAuction, db.TopicEvent)
	return out, err
}

// enrolmentCreate keeps no answer for repeats: a token that was lost on its way expires, and counts until then.
func (a *API) enrolmentCreate(ctx context.Context, in *struct{ Body client.EnrolmentCreate }) (*answer[client.Enrolment], error) {
	secret, hash := NewToken(kindEnrol)
	token, err := a.agents.EnrolmentCreate(ctx, db.EnrolmentCreateParams{
		Orchestrator: caller(ctx).orchestrator, Template: in.Body.Template, Hash: hash, Actor: caller(ctx).actor(),
	})
	if err != nil {
		return nil, err
	}
	return &answer[client.Enrolment]{Status: http.StatusCreated, Body: client.Enrolment{Token: secret, Template: in.Body.Template, ExpiresAt: utc(token.ExpiresAt)}}, nil
}
