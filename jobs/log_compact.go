package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"github.com/riverqueue/river"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/store"
)

// compactBatch is how many chunks are in memory at once, each up to 1 MiB raw.
const compactBatch = 32

type logCompactArgs struct {
	Lease uuid.UUID `json:"lease"`
}

func (logCompactArgs) Kind() string { return "log_compact" }

// logCompact moves a finished log from its chunks to the object store.
type logCompact struct {
	river.WorkerDefaults[logCompactArgs]
	q     *db.Queries
	store *store.Store
	log   *slog.Logger
}

// Timeout allows for a log of many gigabytes.
func (w *logCompact) Timeout(*river.Job[logCompactArgs]) time.Duration { return 9 * time.Minute }

// Work writes the object, reads it back and verifies it, and only then lets it take the chunks' place, in one
// transaction. Readers see the one or the other.
func (w *logCompact) Work(ctx context.Context, job *river.Job[logCompactArgs]) error {
	lease, err := w.q.LeaseByID(ctx, job.Args.Lease)
	if _, gone := db.AsRefusal(err); gone {
		return nil
	}
	if err != nil || lease.LogDoneAt == nil || lease.LogObject != nil || lease.LogChunks == 0 {
		return err
	}
	key := fmt.Sprintf("logs/%s/%s.zst", lease.GrantedAt.UTC().Format("2006-01-02"), lease.ID)
	indexAt, err := w.write(ctx, lease.ID, key)
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
func (w *logCompact) write(ctx context.Context, lease uuid.UUID, key string) (indexAt int64, err error) {
	r, pipe := io.Pipe()
	go func() {
		object := store.NewLogObject(pipe)
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

func (w *logCompact) addAll(ctx context.Context, lease uuid.UUID, object *store.LogObject) error {
	for next := int32(0); ; {
		chunks, err := w.q.LogChunks(ctx, db.LogChunksParams{Lease: lease, FromSeq: next, AtMost: compactBatch})
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
		if len(chunks) < compactBatch {
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
	raw, err := zstd.NewReader(object, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer raw.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, raw)
	if err != nil {
		return err
	}
	if n != lease.LogBytes {
		return fmt.Errorf("it has %d bytes, want %d", n, lease.LogBytes)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); lease.LogTotal != nil && *lease.LogTotal == n && lease.LogSha256 != nil && got != *lease.LogSha256 {
		w.log.ErrorContext(ctx, "log differs from what the agent sent", "lease", lease.ID, "sha256", got, "want", *lease.LogSha256)
	}
	return nil
}
