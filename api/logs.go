package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/store"
)

const typeText = "text/plain"

func (a *API) registerLogs() {
	handle(a, "task-log", doc{
		summary: "Read or follow the log of a task",
		description: "Plain bytes; with Range, a part of them. As JSON, its segments, a page at a time. With Accept: text/event-stream " +
			"a stream of segments that resumes after Last-Event-ID and sends an event named end when the log is complete.",
		answers: map[string]*huma.MediaType{
			typeText:   {Schema: &huma.Schema{Type: huma.TypeString}},
			typeJSON:   {Schema: schemaOf[client.LogPage](a)},
			typeStream: {Schema: schemaOf[client.LogRecord](a)},
		},
	}, a.taskLog)
	handle(a, "lease-log-frames", doc{
		summary: "Store chunks of a lease's log that follow each other",
		description: "All or none, so one commit for all. A body is up to 16 frames, one after the other: the length of the head in " +
			"four bytes, the most significant first; the head, a LogFrame as JSON; the data as they are. The answer says which chunk is wanted " +
			"next. Repeating a chunk changes nothing.",
		request: map[string]*huma.MediaType{client.TypeLogFrames: {Schema: &huma.Schema{
			Type: huma.TypeString, Format: "binary", Description: "Frames; each begins with " + schemaOf[client.LogFrame](a).Ref + ".",
		}}},
	}, a.leaseLogFrames)
}

// LogQuery says what of a log is wanted, and how.
type LogQuery struct {
	TaskRef
	Attempt     int    `query:"attempt" minimum:"0" doc:"Number of the attempt; 0 is the current one."`
	Step        int    `query:"step" minimum:"-1" default:"-1" doc:"Only this step; -1 is all."`
	Stream      string `query:"stream" enum:"stdout,stderr,agent" doc:"Only this stream; all if absent."`
	FromLine    int64  `query:"from_line" minimum:"0" doc:"The first line, counted from 1."`
	Lines       int64  `query:"lines" minimum:"0" doc:"How many lines; 0 is all."`
	Follow      bool   `query:"follow" doc:"Plain text: go on until the log is complete."`
	After       string `query:"after" maxLength:"30" doc:"JSON and streams: after this segment. Last-Event-ID counts more."`
	LastEventID string `header:"Last-Event-ID" maxLength:"30" doc:"Resume after this segment."`
	Accept      string `header:"Accept"`
	Range       string `header:"Range" doc:"Plain text of everything: bytes=from-to."`
}

// logView is a log as one request wants it.
type logView struct {
	reader logReader
	query  *LogQuery
	window window
	after  recordID
}

func (a *API) taskLog(ctx context.Context, in *LogQuery) (*huma.StreamResponse, error) {
	lease, err := a.users.LeaseOfAttempt(ctx, db.LeaseOfAttemptParams{Task: in.Task, Attempt: narrow(in.Attempt)})
	if err != nil {
		return nil, a.noAttempt(ctx, in, err)
	}
	if lease.LogExpiredAt != nil {
		return nil, newProblem(codeNotFound, "the log of attempt %d of task %d expired at %s", lease.Epoch, lease.TaskID, lease.LogExpiredAt.UTC().Format(time.RFC3339)).
			hint("keep_logs says for how long logs are kept, see docs/operations.md")
	}
	v := &logView{query: in, window: everything(), after: recordID{-1, -1}}
	v.reader = logReader{queries: a.users, store: a.cfg.Store, codec: a.codec, share: a.share, lease: lease}
	if in.FromLine > 0 {
		v.window.fromLine = in.FromLine - 1
	}
	if in.Lines > 0 {
		v.window.toLine = v.window.fromLine + in.Lines
	}
	switch {
	case strings.Contains(in.Accept, typeStream):
		return a.logStream(ctx, v)
	case strings.Contains(in.Accept, typeJSON):
		return a.logPage(ctx, v)
	}
	return a.logText(ctx, v)
}

// noAttempt says which of task and attempt there is not.
func (a *API) noAttempt(ctx context.Context, in *LogQuery, err error) error {
	if _, ok := db.AsRefusal(err); !ok {
		return err
	}
	if _, err := a.users.TaskByID(ctx, in.Task); err != nil {
		return missing(err, "task %d", in.Task)
	}
	if in.Attempt > 0 {
		return newProblem(codeNotFound, "task %d has no attempt %d", in.Task, in.Attempt)
	}
	return newProblem(codeNotFound, "task %d has no attempt yet, so it has no log", in.Task).hint("it has one after task.scheduled")
}

// logProblem is a failure to read a log, before anything of it was sent.
func (a *API) logProblem(ctx context.Context, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return newProblem(codeNotFound, "the log is not in the object store any more")
	}
	_, known := errors.AsType[*Problem](err)
	if _, refused := db.AsRefusal(err); known || refused || db.Unavailable(err) || errors.Is(err, errLogDamaged) {
		return err
	}
	return a.storeProblem(ctx, err)
}

// logText answers plain bytes: what there is now, or with follow all there will be.
func (a *API) logText(ctx context.Context, v *logView) (*huma.StreamResponse, error) {
	head, err := v.head()
	if err != nil {
		return nil, err
	}
	if err := v.reader.seek(ctx, v.window); err != nil {
		return nil, a.logProblem(ctx, err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		head.write(w)
		a.metrics.streams.Inc()
		defer a.metrics.streams.Dec()
		out := newStream(w)
		err := a.eachPiece(r.Context(), v, v.query.Follow, func(g *grip) (bool, error) { return v.writeText(r.Context(), out, g) }, out.flush)
		if err == nil || errors.Is(err, errReaderGone) {
			return
		}
		if !errors.Is(err, errStopping) && r.Context().Err() == nil {
			a.log.WarnContext(ctx, "log was not sent whole", "request", requestID(ctx), "task", v.query.Task, "error", err)
		}
		panic(http.ErrAbortHandler) // the reader must see that it is not whole
	}}, nil
}

// eachPiece passes the pieces on until the window, or the log, is over; with follow it waits for more. What idle does
// is done whenever there is nothing to read.
func (a *API) eachPiece(ctx context.Context, v *logView, follow bool, pass func(*grip) (over bool, err error), idle func() error) error {
	more := func(context.Context) (bool, error) { return false, nil }
	if follow {
		var leave func()
		more, leave = a.followLog(v, idle)
		defer leave()
	}
	checked := time.Now()
	for {
		if follow && time.Since(checked) >= heartbeatEvery {
			if checked = time.Now(); !a.stillAllowed(ctx) {
				return errNotAllowed
			}
		}
		g, over, err := v.reader.read(ctx)
		if err != nil && !(follow && db.Unavailable(err)) || over {
			return err
		}
		if g != nil {
			over, err := pass(g)
			g.letGo()
			if over || err != nil {
				return err
			}
			continue
		}
		if on, err := more(ctx); !on || err != nil {
			return err
		}
	}
}

// followLog gives what waits until there may be more, and then knows how far the log has come.
func (a *API) followLog(v *logView, idle func() error) (more func(context.Context) (bool, error), leave func()) {
	woken, cancel := a.wake.Subscribe(db.TopicLog)
	watch, unwatch := a.watches.join(v.reader.lease.ID)
	more = func(ctx context.Context) (bool, error) {
		if err := idle(); err != nil {
			return false, err
		}
		if !a.moreLog(ctx, woken) {
			return false, errStopping
		}
		lease, err := a.watches.look(ctx, watch, v.reader.lease.ID, time.Now())
		if err == nil {
			v.reader.lease = lease
		}
		if db.Unavailable(err) {
			err = nil
		}
		return true, err
	}
	return more, func() { cancel(); unwatch() }
}

// errNotAllowed ends a stream whose token is not good any more.
var errNotAllowed = errors.New("the token is not good any more")

const (
	logPoll = time.Second
	// logGap is the least time between two looks: a wake-up says that some log has grown, not which.
	logGap = 20 * time.Millisecond
)

// moreLog waits until there may be more. It is false when nobody wants it any more.
func (a *API) moreLog(ctx context.Context, woken <-chan struct{}) bool {
	if !wait(ctx, logGap) {
		return false
	}
	timer := time.NewTimer(logPoll)
	defer timer.Stop()
	select {
	case <-woken:
	case <-timer.C:
	case <-ctx.Done():
		return false
	case <-a.stopping:
		return false
	}
	return true
}

// writeText writes the bytes of a piece that were asked for.
func (v *logView) writeText(ctx context.Context, out *stream, g *grip) (bool, error) {
	lo, hi, over := v.window.cut(g.piece)
	at := 0
	for _, s := range g.piece.segments {
		from, to := max(at, lo), min(at+s.Bytes, hi)
		at += s.Bytes
		if from >= to || !v.wants(s) {
			continue
		}
		if err := g.pour(ctx, out, from, to); err != nil {
			return true, err
		}
	}
	return over, nil
}

// wants says whether a segment is of the step and the stream that were asked for.
func (v *logView) wants(s client.Segment) bool {
	return (v.query.Step < 0 || s.Step == v.query.Step) && (v.query.Stream == "" || s.Kind == v.query.Stream)
}
