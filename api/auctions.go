package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

func (a *API) registerAuctions() {
	handle(a, "orchestrator-demand", doc{
		summary:     "Ask what agents are wanted, and be held until there is something new",
		description: "Up to 30 s. The answer is everything that the orchestrator acts upon: demand, open auctions, its awards and its agents.",
	}, a.orchestratorDemand)
	handle(a, "bid-place", doc{
		summary: "Bid for a task of an auction", description: "A second bid from the same template replaces the first; repeating one changes nothing.",
	}, a.bidPlace)
	handle(a, "award-take", doc{
		summary:     "Make a token for the agent of an award",
		description: "The agent that enrols with it is granted the award's task. Taken again before an agent has come, the token before is worth nothing.",
	}, a.awardTake)
	handle(a, "award-return", doc{summary: "Give an award back", description: "The next bid gets the task. Three within an hour suspend the bidder."}, a.awardReturn)
	handle(a, "auction-list", doc{summary: "List what was auctioned, newest first, with bids and awards"}, a.auctionList)
}

// Looks at the database for an orchestrator that waits: one each lookEvery, and after wake-ups, which come in swarms, not more often
// than each lookPause.
const (
	lookEvery = 5 * time.Second
	lookPause = 50 * time.Millisecond
	dueAtOnce = 100
)

func (a *API) orchestratorDemand(ctx context.Context, in *struct {
	Known  string `query:"known" maxLength:"100" doc:"The version of the answer before: be held until it differs. Absent: answer at once."`
	WaitMS int64  `query:"wait_ms" minimum:"0" maximum:"60000" doc:"How long to be held; 30 s if absent."`
}) (*output[client.Demand], error) {
	hold := min(time.Duration(in.WaitMS)*time.Millisecond, holdTime)
	if hold == 0 {
		hold = holdTime
	}
	ready, stopReady := a.wake.Subscribe(db.TopicReady)
	defer stopReady()
	auction, stopAuction := a.wake.Subscribe(db.TopicAuction)
	defer stopAuction()
	until := time.NewTimer(hold + rand.N(min(holdSpread, hold/10+1)))
	defer until.Stop()
	for {
		news, next, err := a.lookForOrchestrator(ctx)
		if err != nil || news.Version != in.Known {
			return &output[client.Demand]{news}, err
		}
		if !wait(ctx, lookPause) {
			return nil, context.Cause(ctx)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-a.stopping:
			return &output[client.Demand]{news}, nil
		case <-until.C:
			return &output[client.Demand]{news}, nil
		case <-ready:
		case <-auction:
		case <-time.After(min(next, lookEvery)):
		}
	}
}

// lookForOrchestrator says that the orchestrator lives, does what is due in auctions, and reads what the orchestrator acts upon, and how
// soon something will be due. Nobody else need do that in time: without an orchestrator that asks, nobody bids.
func (a *API) lookForOrchestrator(ctx context.Context) (news client.Demand, next time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, roundPatience)
	defer cancel()
	o, err := a.agents.OrchestratorBeat(ctx, db.OrchestratorBeatParams{Orchestrator: caller(ctx).orchestrator, Actor: caller(ctx).actor()})
	if err != nil {
		return news, 0, err
	}
	row, err := a.agents.OrchestratorNews(ctx, o.ID)
	if err != nil {
		return news, 0, fmt.Errorf("read demand: %w", err)
	}
	if row.WindowMs > 0 || row.NextMs == 0 {
		changed, err := a.turnAuctions(ctx)
		if err != nil {
			return news, 0, err
		}
		if changed {
			if row, err = a.agents.OrchestratorNews(ctx, o.ID); err != nil {
				return news, 0, fmt.Errorf("read demand: %w", err)
			}
		}
	}
	if err := json.Unmarshal(row.News, &news); err != nil {
		return news, 0, fmt.Errorf("read demand: %w", err)
	}
	sum := sha256.Sum256(row.News)
	news.Version = hex.EncodeToString(sum[:8])
	return news, max(time.Duration(row.NextMs)*time.Millisecond, lookPause), nil
}

// turnAuctions opens auctions, closes those whose window is over, and takes late awards away; it says whether there was anything.
// Somebody else may be faster, which is refused here and all right.
func (a *API) turnAuctions(ctx context.Context) (changed bool, err error) {
	actor := "server:" + a.cfg.Name
	opened, err := a.agents.AuctionOpen(ctx, actor)
	if err != nil {
		return false, fmt.Errorf("open auctions: %w", err)
	}
	due, err := a.agents.AuctionsDue(ctx, dueAtOnce)
	if err != nil {
		return false, fmt.Errorf("read auctions: %w", err)
	}
	if len(opened)+len(due) == 0 {
		return false, nil
	}
	defer a.wake.Wake(db.TopicAuction, db.TopicReady, db.TopicEvent)
	for _, d := range due {
		switch {
		case d.Award != nil:
			_, err = a.agents.AwardExpire(ctx, db.AwardExpireParams{Award: *d.Award, Actor: actor})
		case d.Auction != nil:
			_, err = a.agents.AuctionClose(ctx, db.AuctionCloseParams{Auction: *d.Auction, Actor: actor})
		}
		if _, refused := db.AsRefusal(err); err != nil && !refused {
			return true, fmt.Errorf("settle auctions: %w", err)
		}
	}
	return true, nil
}

func (a *API) bidPlace(ctx context.Context, in *struct{ Body client.BidPlace }) (*output[client.Bid], error) {
	b, err := a.agents.BidPlace(ctx, db.BidPlaceParams{
		Auction: in.Body.Auction, Task: in.Body.Task, Orchestrator: caller(ctx).orchestrator, Template: in.Body.Template, Price: in.Body.Price,
		EstimateMs: in.Body.EstimateMS, WithinMs: in.Body.WithinMS, Actor: caller(ctx).actor(),
	})
	if err != nil {
		return nil, err
	}
	a.wake.Wake(db.TopicEvent)
	return &output[client.Bid]{client.Bid{
		Bid: b.ID, Template: in.Body.Template, State: b.State, Price: b.Price, EstimateMS: b.EstimateMs, EstimatedBy: b.EstimatedBy,
		StartMS: b.StartMs, WithinMS: b.WithinMs, Cost: b.Cost, PlacedAt: b.PlacedAt.UTC(),
	}}, nil
}

type AwardRef struct {
	Award string `path:"award" format:"uuid" doc:"Its id."`
}

// id is the award.
func (r AwardRef) id() (uuid.UUID, error) {
	id, err := uuid.Parse(r.Award)
	if err != nil {
		return id, newProblem(codeInvalid, "%.100q is not an award", r.Award)
	}
	return id, nil
}

func (a *API) awardTake(ctx context.Context, in *struct{ AwardRef }) (*output[client.Enrolment], error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	secret, hash := NewToken(kindEnrol)
	w, err := a.agents.AwardTake(ctx, db.AwardTakeParams{Award: id, Orchestrator: caller(ctx).orchestrator, Hash: hash, Actor: caller(ctx).actor()})
	if err != nil {
		return nil, err
	}
	a.wake.Wake(db.TopicEvent)
	return &output[client.Enrolment]{client.Enrolment{Token: secret, Award: w.ID.String(), Task: w.TaskID, ExpiresAt: utc(&w.StartBy)}}, nil
}

func (a *API) awardReturn(ctx context.Context, in *struct {
	AwardRef
	Body client.AwardReturn
}) (*struct{}, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	_, err = a.agents.AwardReturn(ctx, db.AwardReturnParams{
		Award: id, Orchestrator: caller(ctx).orchestrator, Reason: optional(in.Body.Reason), Actor: caller(ctx).actor(),
	})
	a.wake.Wake(db.TopicAuction, db.TopicReady, db.TopicEvent)
	return nil, err
}

func (a *API) auctionList(ctx context.Context, in *struct {
	Paging
	Run  int64 `query:"run" minimum:"1" doc:"Only of this run, by its number."`
	Task int64 `query:"task" minimum:"1" doc:"Only of this task."`
}) (*pageOutput[client.Auction], error) {
	key, err := in.key()
	if err != nil {
		return nil, err
	}
	before := db.AuctionListParams{Run: in.Run, Task: in.Task, AtMost: in.atMost()}
	if key != "" {
		auction, task, _ := strings.Cut(key, ".")
		var wrong, wrongToo error
		before.Before, wrong = strconv.ParseInt(auction, 10, 64)
		before.BeforeTask, wrongToo = strconv.ParseInt(task, 10, 64)
		if wrong != nil || wrongToo != nil {
			return nil, newProblem(codeInvalid, "the cursor %q is not one of this list", in.Cursor).hint("take it from next of the page before")
		}
	}
	rows, err := a.users.AuctionList(ctx, before)
	if err != nil {
		return nil, err
	}
	return pageOf(in.Paging, rows, encodeAuction, func(r db.AuctionListRow) string { return decimal(r.ID) + "." + decimal(r.TaskID) }), nil
}

func encodeAuction(r db.AuctionListRow) client.Auction {
	return client.Auction{
		Auction: r.ID, Run: r.RunID, Stage: r.Stage, Task: r.TaskID, Name: r.Task, State: r.State, Round: int(r.Round), Outcome: r.Outcome,
		OpenedAt: r.OpenedAt.UTC(), ClosesAt: r.ClosesAt.UTC(), ClosedAt: utc(r.ClosedAt),
		Bids: decodeTo[[]client.Bid](r.Bids), Awards: decodeTo[[]client.Award](r.Awards),
	}
}

// expect notes what an agent that was started for an award has been granted with its hello, so that its first request for work is
// answered at once, and not as one whose answer may be on its way.
func (d *dispatcher) expect(ctx context.Context, agent int64) error {
	unstarted, err := d.api.agents.LeasesUnstarted(ctx, []int64{agent})
	if err != nil {
		return fmt.Errorf("read grants: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range unstarted {
		d.told[news{lease: l.ID}] = telling{time.Now(), true}
	}
	return nil
}
