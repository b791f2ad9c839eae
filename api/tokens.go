package api

import (
	"context"
	"net/http"
	"time"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

func (a *API) registerTokens() {
	handle(a, "self-show", doc{summary: "Ask who the token belongs to, and what the server is"}, a.selfShow)
	handle(a, "token-create", doc{
		summary: "Make a token", description: "The secret is in the answer, this once; only its hash is stored.", status: http.StatusCreated,
	}, a.tokenCreate)
	handle(a, "token-list", doc{summary: "List tokens, without their secrets"}, a.tokenList)
	handle(a, "token-revoke", doc{summary: "Revoke a token", description: "It is worthless everywhere within 5 s."}, a.tokenRevoke)
}

func (a *API) selfShow(ctx context.Context, _ *struct{}) (*output[client.Self], error) {
	who := caller(ctx)
	return &output[client.Self]{client.Self{
		Token: who.token, Name: who.name, Role: who.role, Actor: who.actor(), Server: a.cfg.Name, Version: a.cfg.Version,
	}}, nil
}

// enrolLifetime is how long an enrolment token lives if nothing else was asked for.
const enrolLifetime = time.Hour

// maxLifetime keeps the arithmetic of times within what the database can hold.
const maxLifetime = 100 * 365 * 24 * time.Hour

func (a *API) tokenCreate(ctx context.Context, in *struct {
	Idempotent
	Body client.TokenCreate
}) (*answer[client.TokenCreated], error) {
	kind := kindUser
	lifetime := time.Duration(min(in.Body.ExpiresMS, maxLifetime.Milliseconds())) * time.Millisecond
	if in.Body.Role == string(permitEnrol) || in.Body.Role == string(permitEnrolOrchestrator) {
		kind = kindEnrol
		if lifetime == 0 {
			lifetime = enrolLifetime
		}
	}
	return mutate(ctx, a.cfg.Pool, in.Key, func(q *db.Queries) (answer[client.TokenCreated], error) {
		expires, err := expiry(ctx, q, lifetime)
		if err != nil {
			return answer[client.TokenCreated]{}, err
		}
		var pool *string
		if in.Body.Pool != "" {
			pool = &in.Body.Pool
		}
		secret, hash := NewToken(kind)
		token, err := q.TokenCreate(ctx, db.TokenCreateParams{
			Hash: hash, Kind: kind, Role: in.Body.Role, Name: in.Body.Name, ExpiresAt: expires, Pool: pool, Actor: caller(ctx).actor(),
		})
		return answer[client.TokenCreated]{
			Status: http.StatusCreated, Body: client.TokenCreated{Token: encodeToken(token), Secret: secret},
		}, err
	})
}

// expiry is a lifetime from now, by the database's clock, which also judges it.
func expiry(ctx context.Context, q *db.Queries, lifetime time.Duration) (*time.Time, error) {
	if lifetime == 0 {
		return nil, nil
	}
	now, err := q.Ping(ctx)
	at := now.Add(lifetime)
	return &at, err
}

func (a *API) tokenList(ctx context.Context, in *struct{ Paging }) (*pageOutput[client.Token], error) {
	after, err := in.number()
	if err != nil {
		return nil, err
	}
	rows, err := a.users.TokenList(ctx, db.TokenListParams{After: after, AtMost: in.atMost()})
	if err != nil {
		return nil, err
	}
	return pageOf(in.Paging, rows, encodeToken, func(t db.Token) string { return decimal(t.ID) }), nil
}

func (a *API) tokenRevoke(ctx context.Context, in *struct {
	Token int64 `path:"token" minimum:"1" doc:"Number of the token."`
}) (*output[client.Token], error) {
	token, err := a.users.TokenRevoke(ctx, db.TokenRevokeParams{Token: in.Token, Actor: caller(ctx).actor()})
	if err != nil {
		return nil, err
	}
	a.authority.forget()
	return &output[client.Token]{encodeToken(token)}, nil
}
