package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/store"
)

// logReader reads the log of a lease chunk by chunk: from rows while it is written, from the object after compaction.
// Where the one becomes the other in the middle of a read, nobody notices: chunks keep their numbers. It holds one
// chunk, however long the log is, and shares it with those who read the same one.
type logReader struct {
	queries *db.Queries
	store   *store.Store
	codec   *codec
	share   *logShare
	lease   db.Lease
	next    int              // number of the chunk to read next
	index   []store.LogChunk // of the object, once it is read
	events  bool             // read chunks as server-sent events,
	partly  int              // beyond this one, of which only a part is wanted
	own     []byte           // a slice of a piece that was let go
}

// piece is one chunk, unpacked.
type piece struct {
	seq       int
	firstByte int64
	firstLine int64 // line ends before it
	segments  []client.Segment
	raw       []byte
}

// A read of rows takes what follows as well, where that is little.
const (
	rowsAtOnce  = 64
	bytesAtOnce = maxChunkBytes
)

var (
	// errLogDamaged stops a reader rather than showing a log with a hole.
	errLogDamaged = errors.New("stored log is damaged")
	// errLogMoved says that the rows are not there any more.
	errLogMoved = errors.New("the log has become an object")
	// errLogEnded says that a stored log has no more chunks.
	errLogEnded = errors.New("the log has ended")
	// errReaderGone is no failure of ours.
	errReaderGone = errors.New("the reader has gone")
)

// grip is a piece in a reader's hand.
type grip struct {
	reader *logReader
	key    pieceKey
	piece  piece // its bytes are there only while shared is
	shared *sharedPiece
}

// read gives the next piece, which the caller lets go of. None and not over means: as far as the lease was known, there is
// no more yet.
func (r *logReader) read(ctx context.Context) (g *grip, over bool, err error) {
	if r.lease.LogObject == nil && r.next >= int(r.lease.LogChunks) {
		return nil, r.lease.LogDoneAt != nil, nil
	}
	g = &grip{reader: r, key: pieceKey{r.lease.ID, r.next, r.events && r.next > r.partly}}
	g.shared, err = r.hold(ctx, g.key)
	switch {
	case errors.Is(err, errLogEnded):
		return nil, true, nil
	case err != nil:
		return nil, false, err
	}
	g.piece = g.shared.piece
	r.next++
	return g, false, nil
}

// letGo releases the piece; it may be called again.
func (g *grip) letGo() {
	if g.shared != nil {
		g.reader.share.release(g.shared)
		g.shared, g.piece.raw = nil, nil
	}
}

// pour writes bytes of the piece. Where too much is held already, it does not hold the piece while it writes: that can take
// as long as the peer likes.
func (g *grip) pour(ctx context.Context, out io.Writer, from, to int) (err error) {
	r := g.reader
	for from < to {
		if g.shared == nil {
			if g.shared, err = r.hold(ctx, g.key); err != nil {
				return err
			}
			g.piece.raw = g.shared.raw
		}
		slice := g.piece.raw[from:min(from+shareSlice, to)]
		from += len(slice)
		if r.share.crowded() {
			r.own = append(r.own[:0], slice...)
			slice = r.own
			g.letGo()
		}
		if _, err := out.Write(slice); err != nil {
			return errReaderGone
		}
	}
	return nil
}

// hold gives a piece, from wherever it is now.
func (r *logReader) hold(ctx context.Context, key pieceKey) (*sharedPiece, error) {
	load := func(ctx context.Context) ([]piece, error) { return r.load(ctx, key.seq) }
	if key.events {
		load = func(ctx context.Context) ([]piece, error) { return r.loadEvents(ctx, key) }
	}
	p, err := r.share.hold(ctx, key, load)
	if !errors.Is(err, errLogMoved) {
		return p, err
	}
	if r.lease, err = r.queries.LeaseByID(ctx, r.lease.ID); err != nil {
		return nil, err
	}
	if r.lease.LogObject == nil {
		return nil, fmt.Errorf("%w: chunk %d of lease %s is missing", errLogDamaged, key.seq, r.lease.ID)
	}
	return r.share.hold(ctx, key, load)
}

// loadEvents gives a piece as the events that a stream of the whole log is made of.
func (r *logReader) loadEvents(ctx context.Context, key pieceKey) ([]piece, error) {
	key.events = false
	text, err := r.hold(ctx, key)
	if err != nil {
		return nil, err
	}
	defer r.share.release(text)
	whole := &logView{query: &LogQuery{Step: -1}, window: everything(), after: recordID{-1, -1}}
	records, _ := whole.records(text.piece)
	events := piece{seq: key.seq, firstByte: text.firstByte, firstLine: text.firstLine, raw: make([]byte, 0, len(text.raw)+len(text.raw)/8)}
	for _, one := range records {
		if events.raw, err = appendEvent(events.raw, one.ID, "", one); err != nil {
			return nil, err
		}
	}
	return []piece{events}, nil
}

func (r *logReader) load(ctx context.Context, seq int) ([]piece, error) {
	if r.lease.LogObject != nil {
		return r.loadObject(ctx, seq)
	}
	rows, err := r.queries.LogChunks(ctx, db.LogChunksParams{Lease: r.lease.ID, FromSeq: narrow(seq), AtMost: rowsAtOnce, MostBytes: bytesAtOnce})
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, errLogMoved
	}
	pieces := make([]piece, 0, len(rows))
	for i, row := range rows {
		if int(row.Seq) != seq+i {
			return nil, fmt.Errorf("%w: chunk %d of lease %s follows %d", errLogDamaged, row.Seq, r.lease.ID, seq+i-1)
		}
		p := piece{seq: seq + i, firstByte: row.FirstByte, firstLine: row.FirstLine, raw: r.share.room(int(row.Bytes))}
		if err := r.unpack(&p, row.Segments, row.Data); err != nil {
			return nil, err
		}
		pieces = append(pieces, p)
	}
	return pieces, nil
}

func (r *logReader) loadObject(ctx context.Context, seq int) ([]piece, error) {
	if err := r.loadIndex(ctx); err != nil {
		return nil, err
	}
	if seq >= len(r.index) {
		return nil, errLogEnded
	}
	c := r.index[seq]
	frame, err := r.store.ReadLogFrame(ctx, *r.lease.LogObject, c)
	if err != nil {
		return nil, fmt.Errorf("read log of lease %s: %w", r.lease.ID, err)
	}
	p := piece{seq: c.Seq, firstByte: c.FirstByte, firstLine: c.FirstLine, raw: r.share.room(c.Bytes)}
	if err := r.unpack(&p, c.Segments, frame); err != nil {
		return nil, err
	}
	return []piece{p}, nil
}

func (r *logReader) loadIndex(ctx context.Context) (err error) {
	if r.index != nil || r.lease.LogIndex == nil {
		return nil
	}
	r.index, err = r.store.ReadLogIndex(ctx, store.LogPlace{Key: *r.lease.LogObject, IndexAt: *r.lease.LogIndex, Log: r.lease.ID.String()})
	if err != nil {
		return fmt.Errorf("read log index of lease %s: %w", r.lease.ID, err)
	}
	return nil
}

// unpack fills a piece, whose raw bytes are an empty buffer with room.
func (r *logReader) unpack(p *piece, segments json.RawMessage, frame []byte) (err error) {
	if err := json.Unmarshal(segments, &p.segments); err != nil {
		return fmt.Errorf("%w: segments of chunk %d of lease %s: %w", errLogDamaged, p.seq, r.lease.ID, err)
	}
	if p.raw, err = r.codec.unpack(frame, p.raw); err != nil {
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
