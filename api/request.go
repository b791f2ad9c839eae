package api

import (
	"context"
	"io"
	"net/http"
	"time"
)

// request is what the gate knows of a request; handlers find it in their context.
type request struct {
	id   string
	path string
	row  route
	who  *principal // nil for public routes
	body []byte     // as it came; nil where the body is streamed
}

type requestKey struct{}

func withRequest(ctx context.Context, r *request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// requestOf is the request that a handler works on.
func requestOf(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{}
}

func requestID(ctx context.Context) string { return requestOf(ctx).id }

// caller is who sent the request. Only handlers of routes that need a token may ask.
func caller(ctx context.Context) *principal { return requestOf(ctx).who }

// recorder notes the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the first final status.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implies 200.
func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Deadlines of one request. A stream or an upload gets a new one with each piece that moves, so that only a peer that
// has stopped moving is cut off.
const (
	readPatience  = 30 * time.Second
	writePatience = 30 * time.Second
	workPatience  = 30 * time.Second // for a handler that answers at once
)

// patience moves the deadlines of a request's connection. Tests without a connection have none, which is no error.
type patience struct{ c *http.ResponseController }

func (p patience) read(d time.Duration)  { _ = p.c.SetReadDeadline(deadline(d)) }
func (p patience) write(d time.Duration) { _ = p.c.SetWriteDeadline(deadline(d)) }

// deadline is d from now; never, if d is 0.
func deadline(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// rollingBody gives a body that is streamed a new deadline with each piece that arrived: it may be large and take
// long, but it may not stop, or drip.
type rollingBody struct {
	io.ReadCloser
	patience patience
	since    int // bytes that arrived since the deadline was moved
	begun    bool
}

// rollingBytes must arrive within readPatience.
const rollingBytes = 64 << 10

// Read moves the deadline where enough has arrived, and takes it away at the end.
func (b *rollingBody) Read(p []byte) (int, error) {
	if !b.begun || b.since >= rollingBytes {
		b.begun, b.since = true, 0
		b.patience.read(readPatience)
	}
	n, err := b.ReadCloser.Read(p)
	b.since += n
	if err != nil {
		b.patience.read(0)
	}
	return n, err
}
