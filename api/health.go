package api

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ottoci/otto/client"
)

func (a *API) registerHealth() {
	handle(a, "health-show", doc{summary: "Ask whether the process lives"}, a.healthShow)
	handle(a, "health-ready", doc{
		summary: "Ask whether the server can work", description: "The database answers and has its schema, and the object store is there. 503 says what is wrong.",
	}, a.healthReady)
}

func (a *API) healthShow(context.Context, *struct{}) (*output[client.Health], error) {
	return &output[client.Health]{client.Health{Status: "ok", Version: a.cfg.Version}}, nil
}

// readyPatience bounds a readiness check: a load balancer asks every few seconds.
const readyPatience = 3 * time.Second

func (a *API) healthReady(ctx context.Context, _ *struct{}) (*output[client.Health], error) {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	select {
	case <-a.stopping:
		return nil, newProblem(codeUnavailable, "the server is stopping")
	default:
	}
	if _, err := a.users.Ping(ctx); err != nil {
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (pg.Code == "42883" || pg.Code == "3F000") {
			return nil, newProblem(codeUnavailable, "the database has no schema of Otto").hint("otto migrate")
		}
		return nil, newProblem(codeUnavailable, "the database does not answer")
	}
	if err := a.cfg.Store.Ready(ctx); err != nil {
		a.log.WarnContext(ctx, "object store is not ready", "error", err)
		return nil, newProblem(codeUnavailable, "the object store is not ready").hint("the server's log says why")
	}
	return &output[client.Health]{client.Health{Status: "ok", Version: a.cfg.Version}}, nil
}
