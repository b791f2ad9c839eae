package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ottoci/otto/client"
)

// recordID is the place of a segment: the number of its chunk, and its own in the chunk.
type recordID struct{ seq, segment int }

func (id recordID) String() string { return fmt.Sprintf("%d-%d", id.seq, id.segment) }

// parseRecordID reads a place; a chunk's number alone is the end of the chunk; empty is before everything.
func parseRecordID(text string) (recordID, error) {
	if text == "" {
		return recordID{-1, -1}, nil
	}
	first, second, both := strings.Cut(text, "-")
	seq, err := strconv.Atoi(first)
	segment := int(^uint(0) >> 1)
	if err == nil && both {
		segment, err = strconv.Atoi(second)
	}
	if err != nil || seq < 0 || segment < 0 {
		return recordID{}, newProblem(codeInvalid, "%q is not the id of a segment", text).hint("take the id of the last one you have seen")
	}
	return recordID{seq, segment}, nil
}

// resume goes to the place after which a stream or a page begins.
func (v *logView) resume(ctx context.Context) (err error) {
	text := v.query.LastEventID
	if text == "" {
		text = v.query.After
	}
	if v.after, err = parseRecordID(text); err != nil {
		return err
	}
	if text == "" {
		return v.reader.seek(ctx, v.window)
	}
	v.reader.next = v.after.seq
	return nil
}

// records are the segments of a piece that were asked for, and whether the window ends in it.
func (v *logView) records(p piece) ([]client.LogRecord, bool) {
	lo, hi, over := v.window.cut(p)
	var list []client.LogRecord
	at := 0
	for i, s := range p.segments {
		from, to := max(at, lo), min(at+s.Bytes, hi)
		at += s.Bytes
		outside := from > to || s.Bytes > 0 && from == to
		seen := p.seq < v.after.seq || p.seq == v.after.seq && i <= v.after.segment
		if outside || seen || !v.wants(s) {
			continue
		}
		r := client.LogRecord{
			ID: recordID{p.seq, i}.String(), Seq: p.seq, Step: s.Step, Kind: s.Kind, AtMS: s.AtMS, State: s.State, ExitCode: s.ExitCode,
		}
		// JSON holds text only; what is not, goes in base64.
		if bytes := p.raw[from:to]; utf8.Valid(bytes) {
			r.Text = string(bytes)
		} else {
			r.Base64 = slices.Clone(bytes) // the piece is not ours for long
		}
		list = append(list, r)
	}
	return list, over
}

// logPageBytes is how much of a log a page of JSON holds, about.
const logPageBytes = 1 << 20

// errPageFull ends a page.
var errPageFull = errors.New("page is full")

// logPage answers segments as JSON: as many as there are now, up to a page.
func (a *API) logPage(ctx context.Context, v *logView) (*huma.StreamResponse, error) {
	if err := v.resume(ctx); err != nil {
		return nil, a.logProblem(ctx, err)
	}
	l := v.reader.lease
	page := client.LogPage{
		Task: l.TaskID, Attempt: int(l.Epoch), Lease: l.ID.String(), Bytes: l.LogBytes, Lines: l.LogLines,
		Complete: l.LogDoneAt != nil, Items: []client.LogRecord{},
	}
	size, last := 0, 0
	err := a.eachPiece(ctx, v, false, func(g *grip) (bool, error) {
		p := g.piece
		if size >= logPageBytes {
			return true, errPageFull
		}
		size, last = size+len(p.raw), p.seq
		list, over := v.records(p)
		page.Items = append(page.Items, list...)
		return over, nil
	}, nil)
	if errors.Is(err, errPageFull) {
		page.Next = strconv.Itoa(last)
		err = nil
	}
	if err != nil {
		return nil, a.logProblem(ctx, err)
	}
	return jsonResponse(page), nil
}

// logStream sends segments as they come, until the log is complete.
func (a *API) logStream(ctx context.Context, v *logView) (*huma.StreamResponse, error) {
	if err := v.resume(ctx); err != nil {
		return nil, a.logProblem(ctx, err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		a.metrics.streams.Inc()
		defer a.metrics.streams.Dec()
		out := newSSE(w)
		if out.comment() == nil {
			a.streamLog(r.Context(), v, out)
		}
	}}, nil
}

func (a *API) streamLog(ctx context.Context, v *logView, out sse) {
	spoken := time.Now()
	ended := false
	q := v.query
	v.reader.events, v.reader.partly = q.Step < 0 && q.Stream == "" && v.window == everything(), v.after.seq
	err := a.eachPiece(ctx, v, true, func(g *grip) (over bool, err error) {
		if over, err = v.writeEvents(ctx, out, g); err != nil {
			return over, err
		}
		spoken, ended = time.Now(), over
		return over, out.flush()
	}, func() error {
		if time.Since(spoken) < heartbeatEvery {
			return nil
		}
		spoken = time.Now()
		return out.comment()
	})
	l := v.reader.lease
	complete := l.LogDoneAt != nil && v.reader.next >= int(l.LogChunks)
	if err == nil && (ended || complete) {
		_ = out.event("", "end", client.LogEnd{Complete: complete, Bytes: l.LogBytes})
		_ = out.flush()
	}
}

// writeEvents writes the segments of a piece that were asked for. Where that is all, they are written already.
func (v *logView) writeEvents(ctx context.Context, out sse, g *grip) (over bool, err error) {
	if g.key.events {
		return false, g.pour(ctx, out, 0, len(g.piece.raw))
	}
	list, over := v.records(g.piece)
	for _, r := range list {
		if err := out.event(r.ID, "", r); err != nil {
			return false, err
		}
	}
	return over, nil
}
