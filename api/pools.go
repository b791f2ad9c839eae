package api

import (
	"context"
	"net/http"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

func (a *API) registerPools() {
	handle(a, "pool-create", doc{
		summary: "Make a pool of agents", description: "Unless it is open, no project may use it before it is allowed to.", status: http.StatusCreated,
	}, a.poolCreate)
	handle(a, "pool-list", doc{summary: "List pools by name, with who may use them"}, a.poolList)
	handle(a, "pool-allow", doc{summary: "Let a project use a pool that is not open", description: "The project is made if it is new."}, a.poolAllow)
	handle(a, "pool-deny", doc{
		summary: "Take a pool that is not open from a project", description: "What the project has at work there goes on; what is ready waits.",
	}, a.poolDeny)
}

func (a *API) poolCreate(ctx context.Context, in *struct {
	Idempotent
	Body client.PoolCreate
}) (*answer[client.Pool], error) {
	return a.poolChange(ctx, in.Key, http.StatusCreated, func(q *db.Queries) (db.Pool, error) {
		return q.PoolCreate(ctx, db.PoolCreateParams{Pool: in.Body.Pool, Restricted: !in.Body.Open, Actor: caller(ctx).actor()})
	})
}

type poolAccess struct {
	Pool string `path:"pool" maxLength:"100" doc:"Name of the pool."`
	Idempotent
	Body client.PoolProject
}

func (a *API) poolAllow(ctx context.Context, in *poolAccess) (*answer[client.Pool], error) {
	return a.poolChange(ctx, in.Key, http.StatusOK, func(q *db.Queries) (db.Pool, error) {
		return q.PoolAllow(ctx, db.PoolAllowParams{Pool: in.Pool, Project: in.Body.Project, Actor: caller(ctx).actor()})
	})
}

func (a *API) poolDeny(ctx context.Context, in *poolAccess) (*answer[client.Pool], error) {
	return a.poolChange(ctx, in.Key, http.StatusOK, func(q *db.Queries) (db.Pool, error) {
		return q.PoolDeny(ctx, db.PoolDenyParams{Pool: in.Pool, Project: in.Body.Project, Actor: caller(ctx).actor()})
	})
}

// poolChange makes a change of a pool, and answers how the pool is after it.
func (a *API) poolChange(ctx context.Context, key string, status int, do func(*db.Queries) (db.Pool, error)) (*answer[client.Pool], error) {
	out, err := mutate(ctx, a.cfg.Pool, key, func(q *db.Queries) (out answer[client.Pool], err error) {
		pool, err := do(q)
		if err != nil {
			return out, err
		}
		rows, err := q.PoolList(ctx, db.PoolListParams{Which: pool.Name, AtMost: 1})
		if err != nil {
			return out, err
		}
		return answer[client.Pool]{Status: status, Body: encodePool(rows[0])}, nil
	})
	a.wake.Wake(db.TopicReady, db.TopicEvent)
	return out, err
}

func (a *API) poolList(ctx context.Context, in *struct{ Paging }) (*pageOutput[client.Pool], error) {
	after, err := in.key()
	if err != nil {
		return nil, err
	}
	rows, err := a.users.PoolList(ctx, db.PoolListParams{After: after, AtMost: in.atMost()})
	if err != nil {
		return nil, err
	}
	return pageOf(in.Paging, rows, encodePool, func(r db.PoolListRow) string { return r.Pool.Name }), nil
}

func encodePool(r db.PoolListRow) client.Pool {
	return client.Pool{
		Pool: r.Pool.Name, Open: !r.Pool.Restricted, Projects: r.Projects, AgentsOnline: int(r.AgentsOnline), TasksReady: int(r.TasksReady),
		CreatedAt: r.Pool.CreatedAt.UTC(),
	}
}
