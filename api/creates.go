package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

// creation is a run that somebody asks for.
type creation struct {
	who    *principal
	key    string // idempotency key; may be empty
	hash   []byte // of the request
	params db.RunCreateParams
}

// newCreates collects new runs.
func (a *API) newCreates() *batcher[creation, answer[client.Run]] {
	return &batcher[creation, answer[client.Run]]{
		most: maxBatch, linger: inCrowds,
		all: func(ctx context.Context, in []creation) (done map[int]answer[client.Run], err error) {
			err = db.InTx(ctx, a.cfg.Pool, func(q *db.Queries) error {
				done, err = a.createAll(ctx, q, in)
				return err
			})
			return done, err
		},
		single: func(ctx context.Context, c creation) (answer[client.Run], error) {
			out, err := mutate(ctx, a.cfg.Pool, c.key, func(q *db.Queries) (answer[client.Run], error) {
				run, err := q.RunCreate(ctx, c.params)
				return created(ctx, q, run, err)
			})
			if err != nil {
				return answer[client.Run]{}, err
			}
			return *out, nil
		},
	}
}

// createAll creates runs in one transaction, and keeps the answers of those that have a key. A request that was sent before
// is left out: it has an answer already, or will have.
func (a *API) createAll(ctx context.Context, q *db.Queries, in []creation) (map[int]answer[client.Run], error) {
	fresh, err := claimKeys(ctx, q, in)
	if err != nil {
		return nil, err
	}
	var places []int
	var wanted []db.RunCreateParams
	for i, c := range in {
		if c.key == "" || fresh[owned{c.who.owner(), c.key}] {
			places, wanted = append(places, i), append(wanted, c.params)
			delete(fresh, owned{c.who.owner(), c.key})
		}
	}
	rows, err := encoded(requestsOf(wanted), func(body json.RawMessage) ([]db.Run, error) { return q.RunsCreate(ctx, body) })
	if err != nil {
		return nil, err
	}
	if len(rows) != len(wanted) {
		return nil, fmt.Errorf("%d of %d runs were created", len(rows), len(wanted))
	}
	names, err := a.names.of(ctx, q, rows)
	if err != nil {
		return nil, err
	}
	done := map[int]answer[client.Run]{}
	for n, row := range rows {
		i := places[n]
		done[i] = answer[client.Run]{
			Status: http.StatusCreated, Location: fmt.Sprintf("/v1/runs/%d", row.ID),
			Body: encodeRun(row, in[i].params.Project, names[text(row.PlanDigest)]),
		}
	}
	return done, keepAll(ctx, q, in, done)
}

// owned is an idempotency key with the one whose it is.
type owned struct{ owner, key string }

// claimKeys notes the keys that nobody has used before.
func claimKeys(ctx context.Context, q *db.Queries, in []creation) (map[owned]bool, error) {
	var p db.RequestsBeginParams
	for _, c := range in {
		if c.key != "" {
			p.Principals, p.Keys, p.Requests = append(p.Principals, c.who.owner()), append(p.Keys, c.key), append(p.Requests, c.hash)
		}
	}
	fresh := map[owned]bool{}
	if len(p.Keys) == 0 {
		return fresh, nil
	}
	rows, err := q.RequestsBegin(ctx, p)
	for _, row := range rows {
		fresh[owned{row.Principal, row.Key}] = true
	}
	return fresh, err
}

// keepAll stores the answers of requests that have a key.
func keepAll(ctx context.Context, q *db.Queries, in []creation, done map[int]answer[client.Run]) error {
	p := db.RequestsEndParams{Status: http.StatusCreated}
	for i, out := range done {
		if in[i].key == "" {
			continue
		}
		kept, err := keep(in[i].who, in[i].key, out)
		if err != nil {
			return err
		}
		p.Principals, p.Keys, p.Answers = append(p.Principals, in[i].who.owner()), append(p.Keys, in[i].key), append(p.Answers, kept)
	}
	if len(p.Keys) == 0 {
		return nil
	}
	return q.RequestsEnd(ctx, p)
}

// planNames remembers the names of plans, which never change.
type planNames struct {
	mu    sync.Mutex
	known map[string]string // by digest
}

// planNamesMost is how many are remembered; then it begins anew.
const planNamesMost = 1000

// of gives the names of the plans of runs.
func (p *planNames) of(ctx context.Context, q *db.Queries, runs []db.Run) (map[string]string, error) {
	names := map[string]string{}
	unknown := p.recall(runs, names)
	if len(unknown) == 0 {
		return names, nil
	}
	rows, err := q.PlanNames(ctx, unknown)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil || len(p.known) >= planNamesMost {
		p.known = map[string]string{}
	}
	for _, row := range rows {
		names[row.Digest], p.known[row.Digest] = row.Name, row.Name
	}
	return names, nil
}

// recall adds the names that are known, and gives the digests of those that are not.
func (p *planNames) recall(runs []db.Run, names map[string]string) (unknown []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range runs {
		digest := text(r.PlanDigest)
		if _, seen := names[digest]; seen || digest == "" {
			continue
		}
		name, known := p.known[digest]
		if names[digest] = name; !known {
			unknown = append(unknown, digest)
		}
	}
	return unknown
}

// runRequest is a new run as otto.runs_create reads it.
type runRequest struct {
	Project  string          `json:"project"`
	Source   *string         `json:"source,omitempty"`
	Ottofile *string         `json:"ottofile,omitempty"`
	Plan     *string         `json:"plan,omitempty"`
	Actor    string          `json:"actor"`
	Event    json.RawMessage `json:"event,omitempty"`
	Params   json.RawMessage `json:"params,omitempty"`
	Priority *int32          `json:"priority,omitempty"`

	Repository *string `json:"repository,omitempty"`
	Ref        *string `json:"ref,omitempty"`
	Commit     *string `json:"commit,omitempty"`
}

func requestsOf(wanted []db.RunCreateParams) []runRequest {
	list := make([]runRequest, len(wanted))
	for i, p := range wanted {
		list[i] = runRequest(p)
	}
	return list
}
