package api

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

func (a *API) registerAgents() {
	handle(a, "agent-enrol", doc{
		summary: "Enrol an agent", description: "Uses the enrolment token up; the answer holds the agent's own credential, this once.",
		status: http.StatusCreated,
	}, a.agentEnrol)
	handle(a, "agent-list", doc{summary: "List agents"}, a.agentList)
	handle(a, "agent-show", doc{summary: "Read an agent"}, a.agentShow)
	handle(a, "agent-disable", doc{
		summary: "Take an agent out of service", description: "It gets no work any more, and what it has is taken away.",
	}, a.agentDisable)
	handle(a, "agent-enable", doc{summary: "Let an agent back into service"}, a.agentEnable)
	handle(a, "agent-hello", doc{
		summary:     "Say that the agent program has started",
		description: "It knows nothing of the leases of its life before, so they are taken away.",
	}, a.agentHello)
	handle(a, "agent-offer", doc{
		summary: "Say what the agent offers now", description: "While it works: its leases stay. Only the offers of the body count.",
	}, a.agentOffer)
	handle(a, "agent-heartbeat", doc{
		summary: "Renew all leases of the agent", description: "Answers the orders for them, and which of them are lost.",
	}, a.agentHeartbeat)
	handle(a, "agent-bye", doc{summary: "Say that the agent program ends"}, a.agentBye)
}

// maxChunkBytes is the largest raw size of a log chunk. Agents are asked to fill it: each chunk costs a request and a commit.
const maxChunkBytes = 1 << 20

func settings(c db.Cluster) client.AgentSettings {
	return client.AgentSettings{
		LeaseTTLMS: c.LeaseTtl.Milliseconds(), HeartbeatMS: c.Heartbeat.Milliseconds(), GraceMS: c.Grace.Milliseconds(),
		ChunkBytes: maxChunkBytes, Protocol: append([]string{"log-zstd", client.ProtocolCounting}, taskFeatures()...),
	}
}

// taskFeatures are the features of the protocol that an agent must know for some tasks (otto.task_requires).
func taskFeatures() []string {
	return []string{client.ProtocolTask, client.ProtocolContainers, client.ProtocolIsolation}
}

// offerProtocol names the features of the protocol among what an agent offers, so that tasks that need one go to no other.
const offerProtocol = "otto.protocol"

// offersOf writes what an agent offers as the database keeps it.
func offersOf(offer client.AgentOffer) (json.RawMessage, error) {
	offers := maps.Clone(offer.Offers)
	delete(offers, offerProtocol)
	known := []string{}
	for _, feature := range taskFeatures() {
		if slices.Contains(offer.Protocol, feature) {
			known = append(known, feature)
		}
	}
	if len(known) > 0 {
		if offers == nil {
			offers = map[string]any{}
		}
		offers[offerProtocol] = known
	}
	if offers == nil {
		return json.RawMessage("{}"), nil
	}
	return json.Marshal(offers)
}

func (a *API) agentEnrol(ctx context.Context, in *struct {
	Idempotent
	Body client.AgentOffer
}) (*answer[client.AgentEnrolled], error) {
	offers, err := offersOf(in.Body)
	if err != nil {
		return nil, err
	}
	return mutate(ctx, a.agentPool, in.Key, func(q *db.Queries) (answer[client.AgentEnrolled], error) {
		secret, hash := NewToken(kindAgent)
		agent, err := q.AgentEnrol(ctx, db.AgentEnrolParams{
			Enrol: caller(ctx).token, Hash: hash, Name: in.Body.Name, Version: in.Body.Version,
			Capacity: narrow(in.Body.Capacity), Offers: offers, Actor: caller(ctx).actor(),
		})
		if err != nil {
			return answer[client.AgentEnrolled]{}, err
		}
		cluster, err := q.ClusterSettings(ctx)
		return answer[client.AgentEnrolled]{
			http.StatusCreated, "/v1/agents/" + decimal(agent.ID),
			client.AgentEnrolled{Agent: encodeAgent(agent, 0), Token: secret, Settings: settings(cluster)},
		}, err
	})
}

func (a *API) agentHello(ctx context.Context, in *struct{ Body client.AgentOffer }) (*output[client.AgentWelcome], error) {
	offers, err := offersOf(in.Body)
	if err != nil {
		return nil, err
	}
	defer a.wake.Wake(db.TopicReady, db.TopicEvent) // also after an error: what was committed, nobody knows
	agent, err := a.agents.AgentHello(ctx, db.AgentHelloParams{
		Agent: caller(ctx).agent, Name: in.Body.Name, Version: in.Body.Version, Capacity: narrow(in.Body.Capacity),
		Offers: offers, Actor: caller(ctx).actor(),
	})
	if err != nil {
		return nil, err
	}
	if agent.Name != caller(ctx).agentName {
		a.authority.forget()
	}
	if agent.OrchestratorID != nil {
		if err := a.dispatch.expect(ctx, agent.ID); err != nil {
			return nil, err
		}
	}
	cluster, err := a.agents.ClusterSettings(ctx)
	if err != nil {
		return nil, err
	}
	return &output[client.AgentWelcome]{client.AgentWelcome{Agent: encodeAgent(agent, 0), Settings: settings(cluster)}}, nil
}

func (a *API) agentOffer(ctx context.Context, in *struct{ Body client.AgentOffer }) (*output[client.Agent], error) {
	offers, err := offersOf(in.Body)
	if err != nil {
		return nil, err
	}
	agent, err := a.agents.AgentOffer(ctx, db.AgentOfferParams{Agent: caller(ctx).agent, Offers: offers, Actor: caller(ctx).actor()})
	if err != nil {
		return nil, err
	}
	a.wake.Wake(db.TopicReady, db.TopicEvent)
	return &output[client.Agent]{encodeAgent(agent, 0)}, nil
}

func leaseIDs(words []string) ([]uuid.UUID, error) {
	ids := make([]uuid.UUID, 0, len(words))
	for _, word := range words {
		id, err := uuid.Parse(word)
		if err != nil {
			return nil, newProblem(codeInvalid, "%.100q is not a lease", word)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func (a *API) agentBye(ctx context.Context, _ *struct{}) (*struct{}, error) {
	_, err := a.agents.AgentBye(ctx, db.AgentByeParams{Agent: caller(ctx).agent, Actor: caller(ctx).actor()})
	a.wake.Wake(db.TopicReady, db.TopicEvent)
	return nil, err
}

type AgentRef struct {
	Agent int64 `path:"agent" minimum:"1" doc:"Number of the agent."`
}

func (a *API) agentShow(ctx context.Context, in *struct{ AgentRef }) (*output[client.Agent], error) {
	row, err := a.users.AgentByID(ctx, in.Agent)
	if err != nil {
		return nil, missing(err, "agent %d", in.Agent)
	}
	return &output[client.Agent]{encodeAgent(row.Agent, row.Busy)}, nil
}

func (a *API) agentList(ctx context.Context, in *struct {
	Paging
	State    string `query:"state" enum:"online,draining,offline,disabled" doc:"Only agents in this state."`
	Requires string `query:"requires" maxLength:"8000" doc:"Only agents that offer this, an object as a task's requires."`
}) (*pageOutput[client.Agent], error) {
	after, err := in.Paging.number()
	if err != nil {
		return nil, err
	}
	requires, err := requirements(in.Requires)
	if err != nil {
		return nil, err
	}
	rows, err := a.users.AgentList(ctx, db.AgentListParams{After: after, State: in.State, Requires: requires, AtMost: in.atMost()})
	if err != nil {
		return nil, err
	}
	return pageOf(in.Paging, rows,
		func(r db.AgentListRow) client.Agent { return encodeAgent(r.Agent, r.Busy) },
		func(r db.AgentListRow) string { return decimal(r.Agent.ID) }), nil
}

// requirements checks what agents are to be held against.
func requirements(text string) (json.RawMessage, error) {
	if text == "" {
		return json.RawMessage("{}"), nil
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil || object == nil || strings.Contains(text, `\u0000`) {
		return nil, newProblem(codeInvalid, "requires is %.100q: it must be a JSON object", text)
	}
	return json.Marshal(object) // without what Postgres does not take, such as half a surrogate pair
}

type agentSwitch struct {
	AgentRef
	Idempotent
}

func (a *API) agentDisable(ctx context.Context, in *agentSwitch) (*answer[client.Agent], error) {
	return a.agentSwitch(ctx, in, db.AgentDisableParams{Agent: in.Agent, Disabled: true, Actor: caller(ctx).actor()})
}

func (a *API) agentEnable(ctx context.Context, in *agentSwitch) (*answer[client.Agent], error) {
	return a.agentSwitch(ctx, in, db.AgentDisableParams{Agent: in.Agent, Disabled: false, Actor: caller(ctx).actor()})
}

func (a *API) agentSwitch(ctx context.Context, in *agentSwitch, to db.AgentDisableParams) (*answer[client.Agent], error) {
	out, err := mutate(ctx, a.cfg.Pool, in.Key, func(q *db.Queries) (answer[client.Agent], error) {
		agent, err := q.AgentDisable(ctx, to)
		return answer[client.Agent]{Status: http.StatusOK, Body: encodeAgent(agent, 0)}, err
	})
	a.wake.Wake(db.TopicReady, db.TopicAbort, db.TopicEvent)
	return out, err
}
