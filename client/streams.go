package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// EventListOptions choose events; zero values choose the first page of all.
type EventListOptions struct {
	After string // id of an event
	Limit int
}

func (o EventListOptions) query() url.Values {
	q := url.Values{}
	set(q, "after", o.After)
	set(q, "limit", o.Limit)
	return q
}

// EventList reads a page of the events of everything, from the oldest on.
func (c *Client) EventList(ctx context.Context, o EventListOptions) (Page[Event], error) {
	return call[Page[Event]](ctx, c, list("/v1/events", o.query()), nil)
}

// RunEventList reads a page of the events of a run.
func (c *Client) RunEventList(ctx context.Context, run string, o EventListOptions) (Page[Event], error) {
	return call[Page[Event]](ctx, c, list(runPath(run, "/events"), o.query()), nil)
}

// EventsFollow passes on the events of everything after the one given, or from now on, until ctx ends or take fails.
func (c *Client) EventsFollow(ctx context.Context, after string, take func(Event) error) error {
	return follow(ctx, c, get("/v1/events"), after, func(e Event) (string, error) { return e.ID, take(e) })
}

// RunEvents passes on the events of a run after the one given, or all, until the run is completed or take fails.
func (c *Client) RunEvents(ctx context.Context, run, after string, take func(Event) error) error {
	return follow(ctx, c, get(runPath(run, "/events")), after, func(e Event) (string, error) { return e.ID, take(e) })
}

// LogOptions choose a part of a log; zero values choose all of the current attempt.
type LogOptions struct {
	Attempt  int
	Step     *int   // index
	Stream   string // stdout, stderr or agent
	FromLine int64  // from 1
	Lines    int64
	Follow   bool   // TaskLog only: go on until the log is complete
	After    string // TaskLogPage only: id of a segment
}

func (o LogOptions) query() url.Values {
	q := url.Values{}
	set(q, "attempt", o.Attempt)
	if o.Step != nil {
		q.Set("step", fmt.Sprint(*o.Step))
	}
	set(q, "stream", o.Stream)
	set(q, "from_line", o.FromLine)
	set(q, "lines", o.Lines)
	set(q, "follow", o.Follow)
	set(q, "after", o.After)
	return q
}

// TaskLog reads a log as the steps wrote it. The caller closes it.
func (c *Client) TaskLog(ctx context.Context, task int64, o LogOptions) (io.ReadCloser, error) {
	op := list(number("/v1/tasks", task, "/log"), o.query()).with("Accept", "text/plain")
	resp, err := c.open(ctx, op, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// TaskLogPage reads segments of a log.
func (c *Client) TaskLogPage(ctx context.Context, task int64, o LogOptions) (LogPage, error) {
	op := list(number("/v1/tasks", task, "/log"), o.query()).with("Accept", "application/json")
	return call[LogPage](ctx, c, op, nil)
}

// TaskLogFollow passes on the segments of a log after the one given, or all, until the log is complete or take fails.
func (c *Client) TaskLogFollow(ctx context.Context, task int64, attempt int, after string, take func(LogRecord) error) error {
	op := list(number("/v1/tasks", task, "/log"), LogOptions{Attempt: attempt}.query())
	return follow(ctx, c, op, after, func(r LogRecord) (string, error) { return r.ID, take(r) })
}

// Streams are kept up: one that breaks off is resumed after the last event that arrived whole.
const (
	streamPatience = 2 * time.Minute // without an answer, then the stream is given up
	streamSilence  = 45 * time.Second
	streamPause    = 200 * time.Millisecond
	streamPauseMax = 5 * time.Second
	maxEventBytes  = 16 << 20
)

// errStreamEnded is how a server says that nothing more will come.
var errStreamEnded = errors.New("stream ended")

// takeError carries what the caller's function said, so that it is not mistaken for a broken connection.
type takeError struct{ error }

// follow reads a stream of server-sent events to its end.
func follow[T any](ctx context.Context, c *Client, op operation, after string, take func(T) (id string, err error)) error {
	op = op.with("Accept", "text/event-stream")
	heard, wait := time.Now(), streamPause
	for {
		err := c.stream(ctx, op.with("Last-Event-ID", after), func(data []byte) error {
			var v T
			if err := json.Unmarshal(data, &v); err != nil {
				return &takeError{fmt.Errorf("%s: read event: %w", op, err)}
			}
			id, err := take(v)
			if err != nil {
				return &takeError{err}
			}
			after, heard, wait = id, time.Now(), streamPause
			return nil
		})
		var refusal *Error
		var taken *takeError
		switch {
		case errors.Is(err, errStreamEnded):
			return nil
		case errors.As(err, &taken):
			return taken.error
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &refusal) && !passing(err) && refusal.Status < 500:
			return err
		case err == nil, errors.Is(err, errSilent):
			heard = time.Now() // it was there
		case time.Since(heard) > streamPatience:
			return fmt.Errorf("the server is lost: %w", err)
		}
		if !pause(ctx, max(wait, retryPause(err))) {
			return context.Cause(ctx)
		}
		wait = min(2*wait, streamPauseMax)
	}
}

// errSilent ends a connection on which not even a heartbeat comes any more.
var errSilent = errors.New("the server has fallen silent")

// stream reads one connection's events until it ends. Nil means that it broke off after it had begun.
func (c *Client) stream(ctx context.Context, op operation, take func(data []byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := c.open(ctx, op, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: unexpected status %d", op, resp.StatusCode)
	}
	silence := time.AfterFunc(streamSilence, func() { cancel(errSilent) })
	defer silence.Stop()
	err = readEvents(resp.Body, func() { silence.Reset(streamSilence) }, take)
	if errors.Is(context.Cause(ctx), errSilent) {
		return errSilent
	}
	return err
}

// readEvents parses server-sent events. A piece that broke off is not passed on: it comes again.
func readEvents(r io.Reader, heard func(), take func(data []byte) error) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	var name string
	var data []byte
	for {
		line, err := readLine(lines)
		if err != nil {
			if errors.Is(err, bufio.ErrTooLong) {
				return &takeError{err}
			}
			return nil
		}
		heard()
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			name = string(value)
		case "data":
			data = append(data, value...)
		case "":
			if len(line) > 0 { // a comment
				continue
			}
			if name == "end" {
				return errStreamEnded
			}
			if len(data) > 0 {
				if err := take(data); err != nil {
					return err
				}
			}
			name, data = "", nil
		}
	}
}

// readLine reads one line of any length up to maxEventBytes, without its end.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimRight(line, "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > maxEventBytes:
			return nil, bufio.ErrTooLong
		}
	}
}
