package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"golang.org/x/sync/errgroup"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/store"
)

const (
	// compactBatch is how many chunks are in memory at once, each up to 1 MiB raw.
	compactBatch = 32
	// compactLook is how many logs one look at the database gives.
	compactLook = 500
	// compactAtOnce is how many objects are written at once, so that a log of many gigabytes holds up no other log.
	compactAtOnce = 4
	// compactAgain is how long a log rests that could not be moved.
	compactAgain = 15 * time.Second
)

type logCompactArgs struct{}

func (logCompactArgs) Kind() string { return "log_compact" }

// logCompact moves finished logs from their chunks to the object store. It looks for them now and then rather than being
// told of each: most logs are small, and a job for each costs more than to move it; and so it finds many that go together.
type logCompact struct {
	river.WorkerDefaults[logCompactArgs]
	q     *db.Queries
	store *store.Store
	log   *slog.Logger
	codec store.LogCodec
	busy  atomic.Bool
	later sync.Map // lease → the rest it takes
}

// rest is for a log that could not be moved.
type rest struct {
	until time.Time
	alone bool // it would spoil a pack
}

// tally counts what becomes of logs that are moved at the same time.
type tally struct {
	sync.Mutex
	moved  int
	failed []error
}

func (t *tally) add(moved int, err error) {
	t.Lock()
	defer t.Unlock()
	t.moved += moved
	t.failed = append(t.failed, err)
}

// Timeout allows for a log of many gigabytes.
func (w *logCompact) Timeout(*river.Job[logCompactArgs]) time.Duration { return 9 * time.Minute }

// Work moves logs until there is none left. One such job at a time is enough for a process. Those of several processes
// begin anywhere in the list, and so seldom meet; that one log is moved twice does no harm.
func (w *logCompact) Work(ctx context.Context, _ *river.Job[logCompactArgs]) error {
	if !w.busy.CompareAndSwap(false, true) {
		return nil
	}
	defer w.busy.Store(false)
	var failed []error
	for from := uuid.New(); ; from = uuid.Nil {
		leases, err := w.q.LogsDone(ctx, db.LogsDoneParams{From: from, AtMost: compactLook})
		if err != nil {
			return errors.Join(append(failed, err)...)
		}
		done := w.compactAll(ctx, leases)
		failed = append(failed, done.failed...)
		if from == uuid.Nil && (done.moved == 0 || len(leases) < compactLook) {
			return errors.Join(failed...)
		}
	}
}

// compactAll moves some logs. What fails is tried again by a later job.
func (w *logCompact) compactAll(ctx context.Context, leases []db.Lease) *tally {
	var done tally
	var group errgroup.Group
	group.SetLimit(compactAtOnce)
	for _, logs := range w.share(leases) {
		group.Go(func() error {
			if len(logs) > 1 {
				moved, err := w.pack(ctx, logs)
				done.add(moved, err)
			} else if err := w.compact(ctx, logs[0]); err != nil {
				w.postpone(true, logs...)
				done.add(0, err)
			} else {
				w.later.Delete(logs[0].ID)
				done.add(1, nil)
			}
			return nil
		})
	}
	_ = group.Wait() // errors are in the tally
	return &done
}

// share says which logs go into an object together: small ones. Those that rest are left out.
func (w *logCompact) share(leases []db.Lease) (objects [][]db.Lease) {
	var small []db.Lease
	bytes := int64(0)
	now := time.Now()
	for _, lease := range leases {
		found, resting := w.later.Load(lease.ID)
		switch {
		case resting && now.Before(found.(rest).until):
		case resting && found.(rest).alone || lease.LogBytes > packedLog || lease.LogChunks > packedChunks:
			objects = append(objects, []db.Lease{lease})
		default:
			if len(small) == packLogs || bytes+lease.LogBytes > packBytes {
				objects, small, bytes = append(objects, small), nil, 0
			}
			small, bytes = append(small, lease), bytes+lease.LogBytes
		}
	}
	if len(small) > 0 {
		objects = append(objects, small)
	}
	return objects
}

// postpone lets logs rest that could not be moved.
func (w *logCompact) postpone(alone bool, logs ...db.Lease) {
	for _, lease := range logs {
		w.later.Store(lease.ID, rest{time.Now().Add(compactAgain), alone})
	}
}

// compact moves one log. If that fails because somebody else has moved it meanwhile, whose chunks are gone then, nothing has failed.
func (w *logCompact) compact(ctx context.Context, lease db.Lease) error {
	err := w.move(ctx, lease)
	if err == nil {
		return nil
	}
	if now, unread := w.q.LeaseByID(ctx, lease.ID); unread == nil && now.LogObject != nil {
		return nil
	}
	return err
}

// move writes the object, reads it back and verifies it, and only then lets it take the chunks' place, in one
// transaction. Readers see the one or the other.
func (w *logCompact) move(ctx context.Context, lease db.Lease) error {
	key := fmt.Sprintf("logs/%s/%s.zst", lease.GrantedAt.UTC().Format("2006-01-02"), lease.ID)
	indexAt, err := w.write(ctx, lease, key)
	if err != nil {
		return fmt.Errorf("write the log of lease %s: %w", lease.ID, err)
	}
	if err := w.verify(ctx, lease, key); err != nil {
		return fmt.Errorf("read back the log of lease %s: %w", lease.ID, errors.Join(err, w.store.Delete(ctx, key)))
	}
	_, err = w.q.LogCompact(ctx, db.LogCompactParams{Lease: lease.ID, Object: key, IndexAt: indexAt})
	return err
}

// write streams the chunks into the object.
func (w *logCompact) write(ctx context.Context, lease db.Lease, key string) (indexAt int64, err error) {
	r, pipe := io.Pipe()
	go func() {
		object := w.codec.NewLogObject(pipe)
		err := w.addAll(ctx, lease, object)
		if err == nil {
			indexAt, _, err = object.Close()
		}
		pipe.CloseWithError(err)
	}()
	defer r.Close()
	if _, err := w.store.Put(ctx, key, r, store.PutOptions{}); err != nil {
		return 0, err
	}
	return indexAt, nil
}

func (w *logCompact) addAll(ctx context.Context, lease db.Lease, object *store.LogObject) error {
	for next := int32(0); ; {
		chunks, err := w.q.LogChunks(ctx, db.LogChunksParams{Lease: lease.ID, FromSeq: next, AtMost: compactBatch})
		if err != nil {
			return err
		}
		for _, c := range chunks {
			if c.Seq != next {
				return fmt.Errorf("chunk %d is missing", next)
			}
			err := object.Add(store.LogChunk{Seq: int(c.Seq), FirstByte: c.FirstByte, Bytes: int(c.Bytes),
				FirstLine: c.FirstLine, Lines: int(c.Lines), Segments: c.Segments}, c.Data)
			if err != nil {
				return err
			}
			next++
		}
		switch {
		case len(chunks) == compactBatch:
		case next != lease.LogChunks:
			return fmt.Errorf("%d of %d chunks are there", next, lease.LogChunks)
		default:
			return nil
		}
	}
}

// verify reads the object back as any zstd reader would. A log whose bytes are not those that the agent counted was
// damaged on its way; it is kept as it is, and said.
func (w *logCompact) verify(ctx context.Context, lease db.Lease, key string) error {
	object, _, err := w.store.Get(ctx, key)
	if err != nil {
		return err
	}
	defer object.Close()
	sum := sha256.New()
	n, err := w.codec.Unpack(sum, object)
	if err != nil {
		return err
	}
	return w.judge(ctx, lease, n, sum.Sum(nil))
}

// judge compares what was read back of a log with what was received, and with what the agent says that he sent.
func (w *logCompact) judge(ctx context.Context, lease db.Lease, n int64, sum []byte) error {
	if n != lease.LogBytes {
		return fmt.Errorf("it has %d bytes, want %d", n, lease.LogBytes)
	}
	if got := hex.EncodeToString(sum); lease.LogTotal != nil && *lease.LogTotal == n && lease.LogSha256 != nil && got != *lease.LogSha256 {
		w.log.ErrorContext(ctx, "log differs from what the agent sent", "lease", lease.ID, "sha256", got, "want", *lease.LogSha256)
	}
	return nil
}
