package jobs

import (
	"context"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"github.com/ottoci/otto/db"
)

const (
	partitionDaysAhead = 7
	// keepEmptyPartitions is how long the partition of a day is kept after it; then it is dropped once it is empty.
	keepEmptyPartitions = 48 * time.Hour
)

type partitionMaintainArgs struct{}

func (partitionMaintainArgs) Kind() string { return "partition_maintain" }

// partitionMaintain makes the partitions of the coming days and drops those that are over and empty.
type partitionMaintain struct {
	river.WorkerDefaults[partitionMaintainArgs]
	q   *db.Queries
	log *slog.Logger
}

// Work does both; each is safe to repeat.
func (w *partitionMaintain) Work(ctx context.Context, _ *river.Job[partitionMaintainArgs]) error {
	made, err := w.q.PartitionMaintain(ctx, partitionDaysAhead)
	if err != nil {
		return err
	}
	dropped, err := w.q.PartitionDrop(ctx, keepEmptyPartitions)
	if err != nil {
		return err
	}
	if made+dropped > 0 {
		w.log.InfoContext(ctx, "partitions were maintained", "made", made, "dropped", dropped)
	}
	return nil
}
