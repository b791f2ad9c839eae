package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/store"
)

// logReader reads the log of a lease chunk by chunk: from rows while it is written, from the object after compaction.
// Where the one becomes the other in the middle of a read, nobody notices: chunks keep their numbers. It holds a few
// chunks, however long the log is.
type logReader struct {
	queries *db.Queries
	store   *store.Store
	codec   *codec
	lease   db.Lease
	next    int              // number of the chunk to read next
	index   []store.LogChunk // of the object, once it is read
}

// piece is one chunk, unpacked.
type piece struct {
	seq       int
	firstByte int64
	firstLine int64 // line ends before it
	segments  []client.Segment
	raw       []byte
}

// rowsAtOnce bounds what a read holds: that many times maxChunkBytes, packed and unpacked.
const rowsAtOnce = 4

// errLogDamaged stops a reader rather than showing a log with a hole.
var errLogDamaged = errors.New("stored log is damaged")

// read gives the next pieces. None and not over means: there may be more later.
func (r *logReader) read(ctx context.Context) (pieces []piece, over bool, err error) {
	if r.lease.LogObject != nil {
		return r.readObject(ctx)
	}
	pieces, err = r.readRows(ctx)
	if err != nil || len(pieces) > 0 {
		return pieces, false, err
	}
	// No row: there is none yet, or it was the last, or compaction has just taken the rows.
	if r.lease, err = r.queries.LeaseByID(ctx, r.lease.ID); err != nil {
		return nil, false, err
	}
	if r.lease.LogObject != nil {
		return r.readObject(ctx)
	}
	return nil, r.lease.LogDoneAt != nil && r.next >= int(r.lease.LogChunks), nil
}

func (r *logReader) readRows(ctx context.Context) ([]piece, error) {
	rows, err := r.queries.LogChunks(ctx, db.LogChunksParams{Lease: r.lease.ID, FromSeq: narrow(r.next), AtMost: rowsAtOnce})
	if err != nil {
		return nil, err
	}
	var pieces []piece
	for _, row := range rows {
		if int(row.Seq) != r.next {
			return nil, fmt.Errorf("%w: chunk %d of lease %s follows %d", errLogDamaged, row.Seq, r.lease.ID, r.next-1)
		}
		p := piece{seq: r.next, firstByte: row.FirstByte, firstLine: row.FirstLine}
		if err := r.unpack(&p, row.Segments, row.Data); err != nil {
			return nil, err
		}
		pieces = append(pieces, p)
		r.next++
	}
	return pieces, nil
}

func (r *logReader) readObject(ctx context.Context) ([]piece, bool, error) {
	if err := r.loadIndex(ctx); err != nil {
		return nil, false, err
	}
	if r.next >= len(r.index) {
		return nil, true, nil
	}
	c := r.index[r.next]
	frame, err := r.store.ReadLogFrame(ctx, *r.lease.LogObject, c)
	if err != nil {
		return nil, false, fmt.Errorf("read log of lease %s: %w", r.lease.ID, err)
	}
	p := piece{seq: c.Seq, firstByte: c.FirstByte, firstLine: c.FirstLine}
	if err := r.unpack(&p, c.Segments, frame); err != nil {
		return nil, false, err
	}
	r.next++
	return []piece{p}, false, nil
}

func (r *logReader) loadIndex(ctx context.Context) (err error) {
	if r.index != nil || r.lease.LogIndex == nil {
		return nil
	}
	r.index, err = r.store.ReadLogIndex(ctx, *r.lease.LogObject, *r.lease.LogIndex)
	if err != nil {
		return fmt.Errorf("read log index of lease %s: %w", r.lease.ID, err)
	}
	return nil
}

func (r *logReader) unpack(p *piece, segments json.RawMessage, frame []byte) (err error) {
	if err := json.Unmarshal(segments, &p.segments); err != nil {
		return fmt.Errorf("%w: segments of chunk %d of lease %s: %w", errLogDamaged, p.seq, r.lease.ID, err)
	}
	if p.raw, err = r.codec.unpack(frame, nil); err != nil {
		return fmt.Errorf("%w: chunk %d of lease %s: %w", errLogDamaged, p.seq, r.lease.ID, err)
	}
	sum := 0
	for _, s := range p.segments {
		sum += s.Bytes
	}
	if sum != len(p.raw) {
		return fmt.Errorf("%w: chunk %d of lease %s has %d bytes, its segments %d", errLogDamaged, p.seq, r.lease.ID, len(p.raw), sum)
	}
	return nil
}

// seek goes to the chunk in which a window begins. Beginning too early would be correct as well, only slower, so it does
// not matter if the rows become an object at this moment.
func (r *logReader) seek(ctx context.Context, w window) error {
	if w.fromByte == 0 && w.fromLine == 0 {
		return nil
	}
	if r.lease.LogObject == nil {
		line := w.fromLine
		if line == 0 {
			line = -1
		}
		seq, err := r.queries.LogSeek(ctx, db.LogSeekParams{Lease: r.lease.ID, Line: line, Byte: w.fromByte})
		r.next = int(seq)
		return err
	}
	if err := r.loadIndex(ctx); err != nil {
		return err
	}
	// The first chunk that begins after the window's beginning; the one before is it.
	after := sort.Search(len(r.index), func(i int) bool {
		if w.fromLine > 0 {
			return r.index[i].FirstLine >= w.fromLine
		}
		return r.index[i].FirstByte > w.fromByte
	})
	r.next = max(after-1, 0)
	return nil
}

// window is a stretch of a log, in bytes or in lines counted from 0. The ends are the first beyond it; negative is none.
type window struct {
	fromByte, toByte int64
	fromLine, toLine int64
}

func everything() window { return window{toByte: -1, toLine: -1} }

// cut says which bytes of a piece are in the window, and whether the window ends in it.
func (w window) cut(p piece) (lo, hi int, over bool) {
	hi = len(p.raw)
	if w.fromLine > 0 {
		lo = afterLines(p.raw, w.fromLine-p.firstLine)
	}
	lo = max(lo, int(min(max(w.fromByte-p.firstByte, 0), int64(hi))))
	if w.toLine >= 0 {
		left := w.toLine - p.firstLine
		hi = afterLines(p.raw, left)
		over = left <= int64(bytes.Count(p.raw[:hi], []byte{'\n'}))
	}
	if w.toByte >= 0 {
		if left := max(w.toByte-p.firstByte, 0); left <= int64(hi) {
			hi, over = int(left), true
		}
	}
	return min(lo, hi), hi, over
}

// afterLines is where the byte after the nth line end is; the length, if there are fewer.
func afterLines(raw []byte, n int64) int {
	at := 0
	for ; n > 0; n-- {
		i := bytes.IndexByte(raw[at:], '\n')
		if i < 0 {
			return len(raw)
		}
		at += i + 1
	}
	return at
}
