package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
)

// gate is what every request passes before its handler: who may do this, how often, how much, how long. It denies by
// default: what is not in the route table does not exist, and what is needs a token unless its row says public.
type gate struct {
	api  *API
	mux  *http.ServeMux
	rows map[string]route
	// origins refuses what a browser sends for another site; browsers send no token of ours by themselves, but a page
	// of an intranet may be able to make one do so.
	origins *http.CrossOriginProtection
}

// ServeHTTP finds the row of the request, and answers.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	rec := &recorder{ResponseWriter: w}
	req := &request{id: newRequestID(), path: r.URL.Path}
	r = r.WithContext(withRequest(r.Context(), req))
	if r.Body != http.NoBody {
		// Also for the body of a request that is refused: the server reads some of it before the next request.
		patience{http.NewResponseController(w)}.read(readPatience)
	}
	secureHeaders(rec.Header(), req.id)
	defer func() {
		g.recovered(rec, r, recover())
		g.api.metrics.request(req.row.operation, rec.status, time.Since(began))
	}()
	_, pattern := g.mux.Handler(r)
	row, ok := g.rows[pattern]
	if !ok {
		writeProblem(rec, g.unknown(rec, r))
		return
	}
	req.row = row
	if err := g.admit(r, req); err != nil {
		writeProblem(rec, g.api.problem(r.Context(), err))
		return
	}
	g.serve(rec, r, req)
}

// serve reads the body, sets the deadlines and runs the handler.
func (g *gate) serve(w http.ResponseWriter, r *http.Request, req *request) {
	p := patience{http.NewResponseController(w)}
	p.write(0)
	if req.row.body >= 0 {
		if err := readBody(w, r, req, p); err != nil {
			writeProblem(w, g.api.problem(r.Context(), err))
			return
		}
	}
	switch req.row.class {
	case classRead, classWrite, classAgent:
		p.write(workPatience + writePatience)
		ctx, cancel := context.WithTimeout(r.Context(), workPatience)
		defer cancel()
		r = r.WithContext(ctx)
	case classUpload:
		r.Body = &rollingBody{ReadCloser: r.Body, patience: p}
	}
	g.mux.ServeHTTP(w, r)
}

// admit checks the token, its permission and its rate.
func (g *gate) admit(r *http.Request, req *request) error {
	if err := g.origins.Check(r); err != nil {
		return newProblem(codeForbidden, "a page of another site sent this request")
	}
	if req.row.permission == permitPublic {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), workPatience)
	defer cancel()
	who, err := g.api.authority.authenticate(ctx, r.Header.Get("Authorization"))
	if err != nil {
		return err
	}
	req.who = who
	if err := authorize(who, req.row.permission); err != nil {
		return err
	}
	if !g.api.limiter.allow(who.token, req.row.class) {
		return newProblem(codeTooMany, "token %q sends too many requests", who.name).hint("wait as long as Retry-After says")
	}
	return nil
}

// unknown is the problem of a request that no row matches: its path, or its method.
func (g *gate) unknown(w http.ResponseWriter, r *http.Request) *Problem {
	probe := &probe{header: http.Header{}}
	handler, _ := g.mux.Handler(r)
	handler.ServeHTTP(probe, r)
	if allow := probe.header.Get("Allow"); probe.status == http.StatusMethodNotAllowed && allow != "" {
		w.Header().Set("Allow", allow)
		return newProblem(codeMethod, "%s does not take %s", r.URL.Path, r.Method).hint("it takes %s", allow)
	}
	return newProblem(codeNotFound, "there is nothing at %s", r.URL.Path).hint("GET /docs lists what there is")
}

// probe swallows the mux's own answer to learn its status.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
func (p *probe) WriteHeader(status int)      { p.status = status }

// recovered answers for a handler that panicked.
func (g *gate) recovered(w *recorder, r *http.Request, fault any) {
	if fault == nil {
		return
	}
	if fault == http.ErrAbortHandler { //nolint:errorlint // what a panic carries is not wrapped
		panic(fault)
	}
	p := g.api.problem(r.Context(), fmt.Errorf("panic: %v", fault))
	if w.status != 0 {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	writeProblem(w, p)
}

// readBody takes the whole body into memory, up to the row's limit, before the handler: so the connection is free for
// noticing that the caller has gone, and the bytes are there for Idempotency-Key.
func readBody(w http.ResponseWriter, r *http.Request, req *request, p patience) error {
	limit := req.row.body
	tooLarge := newProblem(codeTooLarge, "the body of %s is larger than %d bytes", req.row.operation, limit)
	if limit == noBody {
		return nil
	}
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // rather than read what nobody wants
		return tooLarge
	}
	p.read(readPatience)
	defer p.read(0)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newProblem(codeTimeout, "the body did not arrive within %s", readPatience)
	case err != nil:
		return newProblem(codeInvalid, "the body cannot be read")
	}
	req.body = body
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// secureHeaders are on every answer. The policy admits nothing but our own style sheet, for the docs page.
func secureHeaders(h http.Header, id string) {
	h.Set("X-Request-Id", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
}

func newRequestID() string { return uuid.NewString() }
