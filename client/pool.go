package client

import (
	"context"
	"net/url"
	"time"
)

// DefaultPool is the pool of agents and tasks that name none.
const DefaultPool = "default"

// Pool is a group of agents.
type Pool struct {
	Pool         string    `json:"pool" doc:"Its name."`
	Open         bool      `json:"open" doc:"Every project may use it."`
	Projects     []string  `json:"projects" doc:"Those that may use it, if it is not open."`
	AgentsOnline int       `json:"agents_online"`
	TasksReady   int       `json:"tasks_ready"`
	CreatedAt    time.Time `json:"created_at"`
}

// PoolCreate asks for a pool.
type PoolCreate struct {
	Pool string `json:"pool" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" minLength:"1" maxLength:"100"`
	Open bool   `json:"open,omitempty" doc:"Every project may use it; otherwise those that are allowed to."`
}

// PoolProject names the project that may use a pool, or may not any more.
type PoolProject struct {
	Project string `json:"project" minLength:"1" maxLength:"100"`
}

// PoolCreate makes a pool.
func (c *Client) PoolCreate(ctx context.Context, pool PoolCreate) (Pool, error) {
	return change[Pool](ctx, c, post("/v1/pools"), pool)
}

// PoolList lists pools by name.
func (c *Client) PoolList(ctx context.Context, o ListOptions) (Page[Pool], error) {
	return call[Page[Pool]](ctx, c, list("/v1/pools", o.query()), nil)
}

// PoolAllow lets a project use a pool that is not open.
func (c *Client) PoolAllow(ctx context.Context, pool, project string) (Pool, error) {
	return change[Pool](ctx, c, post("/v1/pools/"+url.PathEscape(pool)+"/allow"), PoolProject{project})
}

// PoolDeny takes a pool that is not open from a project.
func (c *Client) PoolDeny(ctx context.Context, pool, project string) (Pool, error) {
	return change[Pool](ctx, c, post("/v1/pools/"+url.PathEscape(pool)+"/deny"), PoolProject{project})
}
