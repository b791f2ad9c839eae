package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/store"
)

const (
	// objectsAtOnce is how many objects are deleted at the same time, while their rows are locked.
	objectsAtOnce = 16
	// objectPatience is how long a deletion may take. Who stores the same source anew waits for that long.
	objectPatience = 5 * time.Second
	// objectsFor is for how long a tick goes on; then the next does.
	objectsFor = 8 * time.Second
)

type objectsPruneArgs struct{}

func (objectsPruneArgs) Kind() string { return "objects_prune" }

// objectsPrune deletes objects from the store that nothing in the database needs any more.
type objectsPrune struct {
	river.WorkerDefaults[objectsPruneArgs]
	pool  *pgxpool.Pool
	store *store.Store
	log   *slog.Logger
}

// Work deletes until nothing is due or the tick is over.
func (w *objectsPrune) Work(ctx context.Context, _ *river.Job[objectsPruneArgs]) error {
	total := 0
	defer func() {
		if total > 0 {
			w.log.InfoContext(ctx, "objects were deleted", "objects", total)
		}
	}()
	for end := time.Now().Add(objectsFor); ; {
		gone, err := w.batch(ctx)
		total += gone
		if err != nil || gone == 0 || time.Now().After(end) {
			return err
		}
	}
}

// batch deletes some objects, and then their rows: what is broken off in between is deleted again, which is fine. The rows
// are locked meanwhile, so that nobody stores a source in the moment in which its object is being deleted.
func (w *objectsPrune) batch(ctx context.Context) (gone int, err error) {
	var failed error
	err = db.InTx(ctx, w.pool, func(q *db.Queries) error {
		due, err := q.ObjectsTake(ctx, objectsAtOnce)
		if err != nil {
			return err
		}
		var deleted []string
		deleted, failed = w.delete(ctx, due)
		gone = len(deleted)
		return q.ObjectsPrune(ctx, deleted)
	})
	if err != nil {
		return 0, errors.Join(err, failed)
	}
	return gone, failed
}

// delete deletes objects side by side, and answers which are gone.
func (w *objectsPrune) delete(ctx context.Context, objects []string) (gone []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, objectPatience)
	defer cancel()
	errs := make([]error, len(objects))
	var group sync.WaitGroup
	for i, object := range objects {
		group.Go(func() { errs[i] = w.deleteOne(ctx, object) })
	}
	group.Wait()
	for i, object := range objects {
		if errs[i] == nil {
			gone = append(gone, object)
		}
	}
	return gone, errors.Join(errs...)
}

// deleteOne deletes a log by its key or a source by its digest.
func (w *objectsPrune) deleteOne(ctx context.Context, object string) (err error) {
	key := object
	if strings.HasPrefix(object, "sha256:") {
		if key, err = store.SourceKey(object); err != nil {
			return err
		}
	}
	if err := w.store.Delete(ctx, key); err != nil {
		return fmt.Errorf("delete object %s: %w", object, err)
	}
	return nil
}
