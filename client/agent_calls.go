package client

import (
	"context"
	"io"
	"net/url"
)

// AgentEnrol makes an agent. The client's token must be an enrol token; the answer holds the agent's own.
func (c *Client) AgentEnrol(ctx context.Context, offer AgentOffer) (AgentEnrolled, error) {
	return call[AgentEnrolled](ctx, c, post("/v1/agents"), offer)
}

// AgentHello says that the agent has started, and what it offers now.
func (c *Client) AgentHello(ctx context.Context, offer AgentOffer) (AgentWelcome, error) {
	return call[AgentWelcome](ctx, c, post("/v1/agent/hello"), offer)
}

// AgentOffer says what the agent offers now, while it works; only the offers of what is given count.
func (c *Client) AgentOffer(ctx context.Context, offer AgentOffer) error {
	_, err := call[Agent](ctx, c, post("/v1/agent/offers"), offer)
	return err
}

// AgentHeartbeat renews all leases it names and brings back orders.
func (c *Client) AgentHeartbeat(ctx context.Context, beat Heartbeat) (HeartbeatAnswer, error) {
	return call[HeartbeatAnswer](ctx, c, post("/v1/agent/heartbeat"), beat)
}

// AgentBye says that the agent leaves: it is offline at once, and what it was given but never started is free again.
func (c *Client) AgentBye(ctx context.Context) error {
	return c.do(ctx, post("/v1/agent/bye"), nil, nil)
}

// LeaseTake asks for work and is held by the server until there is some, an order arrives, or the wait is over.
func (c *Client) LeaseTake(ctx context.Context, request LeaseRequest) (LeaseAnswer, error) {
	return call[LeaseAnswer](ctx, c, post("/v1/agent/lease"), request)
}

// LeaseStart says that the work of a lease begins.
func (c *Client) LeaseStart(ctx context.Context, lease string, start LeaseStart) (LeaseState, error) {
	return call[LeaseState](ctx, c, post(leasePath(lease, "start")), start)
}

// LeaseSteps says what became of steps.
func (c *Client) LeaseSteps(ctx context.Context, lease string, reports StepReports) (LeaseState, error) {
	return call[LeaseState](ctx, c, post(leasePath(lease, "steps")), reports)
}

// LeaseLog stores a chunk of the log. The answer says which chunk comes next.
func (c *Client) LeaseLog(ctx context.Context, lease string, chunk LogChunk) (LogAck, error) {
	return call[LogAck](ctx, c, post(leasePath(lease, "log")), chunk)
}

// LeaseReport says what became of several leases at once. Each report has a result of its own.
func (c *Client) LeaseReport(ctx context.Context, reports LeaseReports) (LeaseReportsAnswer, error) {
	return call[LeaseReportsAnswer](ctx, c, post("/v1/agent/reports"), reports)
}

// LeaseFinish says what became of the task.
func (c *Client) LeaseFinish(ctx context.Context, lease string, finish LeaseFinish) (LeaseState, error) {
	return call[LeaseState](ctx, c, post(leasePath(lease, "finish")), finish)
}

// LeaseRelease hands a lease back.
func (c *Client) LeaseRelease(ctx context.Context, lease string, release LeaseRelease) (LeaseState, error) {
	return call[LeaseState](ctx, c, post(leasePath(lease, "release")), release)
}

// LeaseSource streams the source bundle of the lease's run: a gzipped tar archive. The caller closes it.
func (c *Client) LeaseSource(ctx context.Context, lease string) (io.ReadCloser, error) {
	resp, err := c.open(ctx, get(leasePath(lease, "source")), nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func leasePath(lease, verb string) string {
	return "/v1/leases/" + url.PathEscape(lease) + "/" + verb
}
