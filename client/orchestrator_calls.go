package client

import (
	"context"
	"net/url"
	"strconv"
)

// OrchestratorEnrol makes an orchestrator. The client's token must be of the role enrol-orchestrator; the answer holds its own.
func (c *Client) OrchestratorEnrol(ctx context.Context, offer OrchestratorOffer) (OrchestratorEnrolled, error) {
	return call[OrchestratorEnrolled](ctx, c, post("/v1/orchestrators"), offer)
}

// OrchestratorList lists orchestrators by number.
func (c *Client) OrchestratorList(ctx context.Context, o ListOptions) (Page[Orchestrator], error) {
	return call[Page[Orchestrator]](ctx, c, list("/v1/orchestrators", o.query()), nil)
}

// OrchestratorShow reads one.
func (c *Client) OrchestratorShow(ctx context.Context, orchestrator int64) (Orchestrator, error) {
	return call[Orchestrator](ctx, c, get(number("/v1/orchestrators", orchestrator, "")), nil)
}

// OrchestratorDisable takes one out of service.
func (c *Client) OrchestratorDisable(ctx context.Context, orchestrator int64) (Orchestrator, error) {
	return change[Orchestrator](ctx, c, post(number("/v1/orchestrators", orchestrator, "/disable")), nil)
}

// OrchestratorEnable lets one back into service.
func (c *Client) OrchestratorEnable(ctx context.Context, orchestrator int64) (Orchestrator, error) {
	return change[Orchestrator](ctx, c, post(number("/v1/orchestrators", orchestrator, "/enable")), nil)
}

// OrchestratorHello says that the orchestrator has started, and what it can start.
func (c *Client) OrchestratorHello(ctx context.Context, offer OrchestratorOffer) (OrchestratorWelcome, error) {
	return call[OrchestratorWelcome](ctx, c, post("/v1/orchestrator/hello"), offer)
}

// OrchestratorHeartbeat says that the orchestrator lives. Asking for demand says so, too.
func (c *Client) OrchestratorHeartbeat(ctx context.Context) (OrchestratorWelcome, error) {
	return call[OrchestratorWelcome](ctx, c, post("/v1/orchestrator/heartbeat"), nil)
}

// OrchestratorBye says that the orchestrator ends: it bids no more.
func (c *Client) OrchestratorBye(ctx context.Context) error {
	return c.do(ctx, post("/v1/orchestrator/bye"), nil, nil)
}

// DemandOptions say how long to be held, and what is known already.
type DemandOptions struct {
	Known  string // version of the answer before; empty: answer at once
	WaitMS int64  // 30 s if zero
}

// OrchestratorDemand reads everything that the orchestrator acts upon; it is held until there is something new, or the wait is over.
func (c *Client) OrchestratorDemand(ctx context.Context, o DemandOptions) (Demand, error) {
	q := url.Values{}
	if o.Known != "" {
		q.Set("known", o.Known)
	}
	if o.WaitMS != 0 {
		q.Set("wait_ms", strconv.FormatInt(o.WaitMS, 10))
	}
	return call[Demand](ctx, c, list("/v1/orchestrator/demand", q), nil)
}

// EnrolmentCreate makes a token with which an agent of a template enrols, for whatever work there is.
func (c *Client) EnrolmentCreate(ctx context.Context, enrolment EnrolmentCreate) (Enrolment, error) {
	return call[Enrolment](ctx, c, post("/v1/orchestrator/enrolments"), enrolment)
}

// BidPlace offers to start an agent for a task. A second bid from the same template replaces the first.
func (c *Client) BidPlace(ctx context.Context, bid BidPlace) (Bid, error) {
	return call[Bid](ctx, c, post("/v1/orchestrator/bids"), bid)
}

// AwardTake makes the token with which the agent enrols that is started for an award.
func (c *Client) AwardTake(ctx context.Context, award string) (Enrolment, error) {
	return call[Enrolment](ctx, c, post("/v1/awards/"+url.PathEscape(award)+"/take"), nil)
}

// AwardReturn gives an award back: the next bid gets the task.
func (c *Client) AwardReturn(ctx context.Context, award string, body AwardReturn) error {
	return c.do(ctx, post("/v1/awards/"+url.PathEscape(award)+"/return"), body, nil)
}

// AuctionListOptions filter auctions; zero values do not.
type AuctionListOptions struct {
	Run, Task int64
	ListOptions
}

// AuctionList lists what was auctioned, the newest first.
func (c *Client) AuctionList(ctx context.Context, o AuctionListOptions) (Page[Auction], error) {
	q := o.query()
	if o.Run != 0 {
		q.Set("run", strconv.FormatInt(o.Run, 10))
	}
	if o.Task != 0 {
		q.Set("task", strconv.FormatInt(o.Task, 10))
	}
	return call[Page[Auction]](ctx, c, list("/v1/auctions", q), nil)
}
