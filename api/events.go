package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

const (
	typeJSON   = "application/json"
	typeStream = "text/event-stream"
)

func (a *API) registerEvents() {
	both := map[string]*huma.MediaType{
		typeJSON:   {Schema: schemaOf[client.Page[client.Event]](a)},
		typeStream: {Schema: schemaOf[client.Event](a)},
	}
	handle(a, "run-events", doc{
		summary: "Read or follow the events of a run",
		description: "A page as JSON. With Accept: text/event-stream a stream that resumes after Last-Event-ID; after run.completed it " +
			"sends an event named end, and closes.",
		answers: both,
	}, a.runEvents)
	handle(a, "event-list", doc{
		summary: "Read or follow the events of everything",
		description: "A page as JSON, from the oldest on. With Accept: text/event-stream a stream without end, that resumes after " +
			"Last-Event-ID; without one it begins now.",
		answers: both,
	}, a.eventList)
}

// EventQuery is a part of the input of operations that answer events.
type EventQuery struct {
	Accept      string `header:"Accept"`
	LastEventID string `header:"Last-Event-ID" maxLength:"50" doc:"Resume after this event."`
	After       string `query:"after" maxLength:"50" doc:"Resume after this event; Last-Event-ID counts more."`
	Limit       int    `query:"limit" minimum:"1" default:"100" doc:"Events on a page; more than 500 are not given."`
}

// place is where to begin.
func (q EventQuery) place() (at cursor, given bool, err error) {
	text := q.LastEventID
	if text == "" {
		text = q.After
	}
	at, err = parseCursor(text)
	return at, text != "", err
}

func (q EventQuery) streamed() bool { return strings.Contains(q.Accept, typeStream) }

func (a *API) runEvents(ctx context.Context, in *struct {
	RunRef
	EventQuery
}) (*huma.StreamResponse, error) {
	at, _, err := in.place()
	if err != nil {
		return nil, err
	}
	number, err := in.number(ctx, a.users)
	if err != nil {
		return nil, err
	}
	run, err := a.users.RunByID(ctx, number)
	if err != nil {
		return nil, missing(err, "run %d", number)
	}
	if !in.streamed() {
		return a.eventPage(ctx, &number, at, in.Limit)
	}
	completed, err := a.users.RunCompleted(ctx, number)
	if err != nil {
		return nil, err
	}
	f := &follower{tail: a.tail, run: &number, at: at}
	switch {
	case len(completed) > 0:
		f.last = &cursor{completed[0].Tx, completed[0].ID}
	case run.Run.FinishedAt != nil: // its events are no longer kept
		f.last = &f.at
	}
	return a.eventStream(f), nil
}

func (a *API) eventList(ctx context.Context, in *struct{ EventQuery }) (*huma.StreamResponse, error) {
	at, given, err := in.place()
	if err != nil {
		return nil, err
	}
	if !in.streamed() {
		return a.eventPage(ctx, nil, at, in.Limit)
	}
	if !given {
		end, err := a.users.EventsEnd(ctx)
		if err != nil {
			return nil, err
		}
		at = cursor{end.Tx, end.ID}
	}
	return a.eventStream(&follower{tail: a.tail, at: at}), nil
}

// eventPage answers one page as JSON.
func (a *API) eventPage(ctx context.Context, run *int64, at cursor, limit int) (*huma.StreamResponse, error) {
	limit = min(limit, maxPage)
	rows, err := a.users.EventsAfter(ctx, db.EventsAfterParams{Run: run, Tx: at.tx, ID: at.id, AtMost: int32(limit) + 1})
	if err != nil {
		return nil, err
	}
	page := client.Page[client.Event]{Items: []client.Event{}}
	for i, row := range rows {
		if i == limit {
			page.Next = cursorOf(rows[i-1]).String()
			break
		}
		page.Items = append(page.Items, encodeEvent(row))
	}
	return jsonResponse(page), nil
}

// jsonResponse answers JSON where other forms are possible, too.
func jsonResponse(body any) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		hc.SetHeader("Content-Type", typeJSON)
		hc.SetStatus(http.StatusOK)
		_ = huma.DefaultJSONFormat.Marshal(hc.BodyWriter(), body)
	}}
}

// eventStream follows until the reader leaves, the run is completed, the token is revoked or the server stops.
func (a *API) eventStream(f *follower) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		a.metrics.streams.Inc()
		defer a.metrics.streams.Dec()
		a.tail.join()
		defer a.tail.leave()
		out := newSSE(w)
		if out.comment() == nil {
			a.follow(r.Context(), out, f)
		}
	}}
}

func (a *API) follow(ctx context.Context, out sse, f *follower) {
	alive := time.NewTicker(heartbeatEvery)
	defer alive.Stop()
	for {
		rows, more, err := f.next(ctx)
		if err != nil && !db.Unavailable(err) {
			return
		}
		if len(rows) > 0 {
			if end, err := sendEvents(out, rows, f.run != nil); end || err != nil {
				return
			}
			continue
		}
		if f.over() {
			_ = sendEnd(out)
			return
		}
		if more != nil && !a.pause(ctx, out, more, alive.C) {
			return
		}
	}
}

// pause waits for more, and keeps the stream alive meanwhile. It is false when the stream is to end.
func (a *API) pause(ctx context.Context, out sse, more <-chan struct{}, alive <-chan time.Time) bool {
	for {
		select {
		case <-more:
			return true
		case <-ctx.Done():
			return false
		case <-a.stopping:
			return false
		case <-alive:
			if !a.stillAllowed(ctx) || out.comment() != nil {
				return false
			}
			return true // and look, in case the tail cannot
		}
	}
}

// stillAllowed asks whether the token of a long stream is still good. While nobody can say, it is.
func (a *API) stillAllowed(ctx context.Context) bool {
	_, err := a.authority.identify(ctx, caller(ctx).secret)
	return err == nil || a.problem(ctx, err).Status != http.StatusUnauthorized
}

// sendEvents writes events; it says whether the run they are of is over.
func sendEvents(out sse, rows []db.EventsAfterRow, ofRun bool) (end bool, err error) {
	for _, row := range rows {
		if err := out.event(cursorOf(row).String(), "", encodeEvent(row)); err != nil {
			return false, err
		}
		if ofRun && row.Kind == "run.completed" {
			return true, sendEnd(out)
		}
	}
	return false, out.flush()
}

func sendEnd(out sse) error {
	if err := out.event("", "end", struct{}{}); err != nil {
		return err
	}
	return out.flush()
}

func encodeEvent(e db.EventsAfterRow) client.Event {
	out := client.Event{
		ID: cursorOf(e).String(), Kind: e.Kind, Run: e.Run, Stage: e.Stage, Task: e.Task, Name: e.Name, Step: exitCode(e.Step),
		Actor: e.Actor, Data: decodeTo[map[string]any](e.Data), At: e.At.UTC(),
	}
	if e.Epoch != nil {
		out.Attempt = int(*e.Epoch)
	}
	out.Alias = aliases(e.Kind, out.Attempt)
	return out
}
