package jobs

import (
	"context"
	"log/slog"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"github.com/ottoci/otto/db"
)

type auctionCloseArgs struct {
	Auction int64 `json:"auction"`
}

func (auctionCloseArgs) Kind() string { return "auction_close" }

// auctionClose awards the tasks of an auction whose window is over. An API node at which an orchestrator waits is mostly faster;
// this is for when there is none any more.
type auctionClose struct {
	river.WorkerDefaults[auctionCloseArgs]
	q   *db.Queries
	log *slog.Logger
}

// Work closes it, unless somebody has.
func (w *auctionClose) Work(ctx context.Context, job *river.Job[auctionCloseArgs]) error {
	closed, err := w.q.AuctionClose(ctx, db.AuctionCloseParams{Auction: job.Args.Auction, Actor: "job:auction_close"})
	if _, refused := db.AsRefusal(err); refused {
		return nil
	}
	if err == nil {
		w.log.InfoContext(ctx, "auction was closed", "auction", closed.ID, "run", closed.RunID, "state", closed.State)
	}
	return err
}

type awardExpireArgs struct {
	Award uuid.UUID `json:"award"`
}

func (awardExpireArgs) Kind() string { return "award_expire" }

// awardExpire takes an award away whose agent has not come in time, and gives it to the next bid.
type awardExpire struct {
	river.WorkerDefaults[awardExpireArgs]
	q   *db.Queries
	log *slog.Logger
}

// Work takes it away, unless it has ended.
func (w *awardExpire) Work(ctx context.Context, job *river.Job[awardExpireArgs]) error {
	ended, err := w.q.AwardExpire(ctx, db.AwardExpireParams{Award: job.Args.Award, Actor: "job:award_expire"})
	if _, refused := db.AsRefusal(err); refused {
		return nil
	}
	if err == nil {
		w.log.InfoContext(ctx, "award was taken away", "award", ended.ID, "task", ended.TaskID, "orchestrator", ended.OrchestratorID)
	}
	return err
}
