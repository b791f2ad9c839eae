package jobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/uuid"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/store"
)

const (
	// packedLog and packedChunks are up to how many raw bytes and chunks a log is small. Small logs share an object: to write and
	// flush a file, and to read it back, takes longer than all else about them, and a bucket takes money for each.
	packedLog    = 64 << 10
	packedChunks = 32
	// packLogs and packBytes bound the logs of one object, and their raw bytes. It is in memory while it is made and verified, and
	// who reads one of the logs reads the index of all.
	packLogs  = 250
	packBytes = 4 << 20
)

// pack is an object that many logs share, and which of them are in it.
type pack struct {
	key     string
	object  bytes.Buffer
	indexAt int64
	logs    []db.Lease
}

// pack does for many small logs together what compact does for one: it writes the object, reads it back and verifies each log,
// and only then lets it take the place of their chunks, in one transaction. A log that is damaged is left out, and goes alone
// from then on.
func (w *logCompact) pack(ctx context.Context, logs []db.Lease) (moved int, err error) {
	p := &pack{key: fmt.Sprintf("logs/%s/pack-%s.zst", logs[0].GrantedAt.UTC().Format("2006-01-02"), uuid.New()), logs: logs}
	damaged, err := w.storePack(ctx, p)
	if err == nil && len(p.logs) > 0 {
		var ids []uuid.UUID
		for _, lease := range p.logs {
			ids = append(ids, lease.ID)
		}
		ids, err = w.q.LogsCompact(ctx, db.LogsCompactParams{Logs: ids, Object: p.key, IndexAt: p.indexAt})
		moved = len(ids)
		for _, id := range ids {
			w.later.Delete(id)
		}
	}
	if err != nil {
		w.postpone(false, p.logs...)
		err = fmt.Errorf("store %d logs in %s: %w", len(p.logs), p.key, err)
	}
	return moved, errors.Join(damaged, err)
}

// storePack stores the object and verifies it. It is announced first: so it is deleted some day if its writer dies, or if nothing
// comes of it. Who is damaged is left out of the pack's logs.
func (w *logCompact) storePack(ctx context.Context, p *pack) (damaged, err error) {
	missing, err := w.fillPack(ctx, p)
	if err != nil || len(p.logs) == 0 {
		return missing, err
	}
	if err := w.q.LogPack(ctx, p.key); err != nil {
		return missing, err
	}
	if _, err := w.store.Put(ctx, p.key, bytes.NewReader(p.object.Bytes()), store.PutOptions{}); err != nil {
		return missing, err
	}
	wrong, err := w.verifyPack(ctx, p)
	return errors.Join(missing, wrong), err
}

// fillPack makes the object from the logs' chunks. A log without chunks has been moved by somebody else.
func (w *logCompact) fillPack(ctx context.Context, p *pack) (damaged, err error) {
	var ids []uuid.UUID
	for _, lease := range p.logs {
		ids = append(ids, lease.ID)
	}
	rows, err := w.q.LogsChunks(ctx, ids)
	if err != nil {
		return nil, err
	}
	chunks := map[uuid.UUID][]db.LogsChunksRow{}
	for _, row := range rows {
		chunks[row.LeaseID] = append(chunks[row.LeaseID], row)
	}
	object := w.codec.NewLogPack(&p.object)
	damaged = w.leaveOut(p, func(lease db.Lease) (gone bool, err error) {
		if len(chunks[lease.ID]) == 0 {
			return true, nil
		}
		return false, addLog(object, lease, chunks[lease.ID])
	})
	p.indexAt, _, err = object.Close()
	return damaged, err
}

func addLog(object *store.LogPack, lease db.Lease, chunks []db.LogsChunksRow) error {
	if int(lease.LogChunks) != len(chunks) {
		return fmt.Errorf("%d of %d chunks are there", len(chunks), lease.LogChunks)
	}
	for i, c := range chunks {
		if int(c.Seq) != i {
			return fmt.Errorf("chunk %d is missing", i)
		}
		err := object.Add(lease.ID.String(), store.LogChunk{Seq: i, FirstByte: c.FirstByte, Bytes: int(c.Bytes),
			FirstLine: c.FirstLine, Lines: int(c.Lines), Segments: c.Segments}, c.Data)
		if err != nil {
			return err
		}
	}
	return nil
}

// leaveOut keeps the logs of a pack that are neither gone nor damaged. Those that are damaged rest, and go alone from then on.
func (w *logCompact) leaveOut(p *pack, look func(db.Lease) (gone bool, err error)) error {
	var damaged []error
	var good []db.Lease
	for _, lease := range p.logs {
		gone, err := look(lease)
		switch {
		case err != nil:
			w.postpone(true, lease)
			damaged = append(damaged, fmt.Errorf("the log of lease %s cannot share an object: %w", lease.ID, err))
		case !gone:
			good = append(good, lease)
		}
	}
	p.logs = good
	return errors.Join(damaged...)
}

// verifyPack reads the object back, and each log in it by the index that readers will use.
func (w *logCompact) verifyPack(ctx context.Context, p *pack) (damaged, err error) {
	stored, _, err := w.store.Get(ctx, p.key)
	if err != nil {
		return nil, err
	}
	defer stored.Close()
	body, err := io.ReadAll(stored)
	if err != nil {
		return nil, err
	}
	logs, err := store.ParseLogPack(body, p.indexAt)
	if err != nil {
		return nil, err
	}
	return w.leaveOut(p, func(lease db.Lease) (bool, error) {
		sum := sha256.New()
		n, err := w.codec.Unpack(sum, bytes.NewReader(slices.Concat(logs[lease.ID.String()]...)))
		if err != nil {
			return false, err
		}
		return false, w.judge(ctx, lease, n, sum.Sum(nil))
	}), nil
}
