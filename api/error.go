package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

// Problem is every refusal: a problem document of RFC 9457.
type Problem client.Error

// The codes of problems, for programs.
const (
	codeUnauthorized = "unauthorized"
	codeForbidden    = "forbidden"
	codeNotFound     = "not_found"
	codeMethod       = "method_not_allowed"
	codeConflict     = "conflict"
	codeInvalid      = "invalid"
	codeTooLarge     = "too_large"
	codeMediaType    = "media_type"
	codeRange        = "range"
	codeTimeout      = "timeout"
	codeTooMany      = "too_many_requests"
	codeUnavailable  = "unavailable"
	codeInternal     = "internal"
)

// statusOf maps a code to the HTTP status.
func statusOf(code string) int {
	switch code {
	case codeUnauthorized:
		return http.StatusUnauthorized
	case codeForbidden:
		return http.StatusForbidden
	case codeNotFound:
		return http.StatusNotFound
	case codeMethod:
		return http.StatusMethodNotAllowed
	case codeConflict, client.CodeFenced:
		return http.StatusConflict
	case codeInvalid:
		return http.StatusUnprocessableEntity
	case codeTooLarge:
		return http.StatusRequestEntityTooLarge
	case codeMediaType:
		return http.StatusUnsupportedMediaType
	case codeRange:
		return http.StatusRequestedRangeNotSatisfiable
	case codeTimeout:
		return http.StatusRequestTimeout
	case codeTooMany:
		return http.StatusTooManyRequests
	case codeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// statusCallerLeft is what the metrics show for callers who did not wait for their answer.
const statusCallerLeft = 499

// retrySeconds is how long a caller is asked to wait for a server that cannot answer now.
const retrySeconds = 2

// newProblem makes a refusal with the sentence for people.
func newProblem(code, format string, args ...any) *Problem {
	status := statusOf(code)
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...),
	}
}

// hint adds the remedy.
func (p *Problem) hint(format string, args ...any) *Problem {
	p.Hint = fmt.Sprintf(format, args...)
	return p
}

// Error is the detail.
func (p *Problem) Error() string { return (*client.Error)(p).Error() }

// GetStatus is for huma.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders is for huma.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	switch p.Code {
	case codeUnavailable, codeTooMany:
		h.Set("Retry-After", strconv.Itoa(retrySeconds))
	case codeUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="otto"`)
	}
	return h
}

// ContentType is for huma.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// problem makes a refusal of any error. What nobody expected is logged here, once, and told to nobody else.
func (a *API) problem(ctx context.Context, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if r, ok := db.AsRefusal(err); ok {
		return refusal(r)
	}
	switch {
	case db.OutOfSpace(err):
		a.log.ErrorContext(ctx, "database disk is full", "request", requestID(ctx), "error", err)
		return newProblem(codeUnavailable, "the disk of the database is full: nothing can be stored").
			hint("free space on the disk of the database server")
	case db.Unavailable(err), errors.Is(err, context.DeadlineExceeded):
		a.log.WarnContext(ctx, "database did not answer", "request", requestID(ctx), "error", err)
		return newProblem(codeUnavailable, "the database cannot be used now").hint("try again in a moment")
	case errors.Is(err, context.Canceled):
		p := newProblem(codeUnavailable, "the request was given up")
		p.Status = statusCallerLeft
		return p
	}
	if p := badData(err); p != nil {
		return p
	}
	a.log.ErrorContext(ctx, "request failed", "request", requestID(ctx), "error", err)
	return newProblem(codeInternal, "something went wrong inside the server").hint("the server's log has more under request %s", requestID(ctx))
}

// refusal passes the database's sentence on.
func refusal(r *db.Refusal) *Problem {
	switch {
	case r.Fenced:
		return newProblem(client.CodeFenced, "%s", r.Message).hint("the lease is lost: stop its work")
	case r.Code == db.NotFound:
		return newProblem(codeNotFound, "%s", r.Message)
	case r.Code == db.Forbidden:
		return newProblem(codeForbidden, "%s", r.Message)
	}
	return newProblem(codeConflict, "%s", r.Message)
}

// badData finds what a caller can do better in an error of the database: text that it cannot hold, or a reference to
// something that is not there. Each names what was wrong without the words of the database.
func badData(err error) *Problem {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return nil
	}
	switch pg.ConstraintName {
	case "runs_source_digest_fkey":
		return newProblem(codeNotFound, "the source does not exist").hint("upload it first: PUT /v1/sources/{digest}")
	case "runs_plan_digest_fkey":
		return newProblem(codeNotFound, "the plan does not exist").hint("store it first: POST /v1/plans")
	case "runs_rerun_of_fkey":
		return newProblem(codeNotFound, "the run does not exist any more")
	case "projects_name_check":
		return newProblem(codeInvalid, "a project's name has letters, digits and ._/- and at most 100 characters")
	}
	switch {
	case pg.Code == "22021", pg.Code == "22P05": // a zero byte, or a broken character
		return newProblem(codeInvalid, "the request contains a character that cannot be stored, such as a zero byte")
	case strings.HasPrefix(pg.Code, "22"), strings.HasPrefix(pg.Code, "54"): // out of range, or too deep
		return newProblem(codeInvalid, "the request contains a value that cannot be stored")
	}
	return nil
}

// missing names what a read did not find.
func missing(err error, format string, args ...any) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return newProblem(codeNotFound, format+" does not exist", args...)
	}
	return err
}

// ourProblems turns huma's own refusals, such as those of a body that does not fit its schema, into ours.
func ourProblems(_ huma.Context, _ string, v any) (any, error) {
	e, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	code := codeInvalid
	switch e.Status {
	case http.StatusRequestEntityTooLarge:
		code = codeTooLarge
	case http.StatusUnsupportedMediaType:
		code = codeMediaType
	}
	p := newProblem(code, "%s", e.Detail)
	p.Status, p.Title = e.Status, http.StatusText(e.Status)
	for _, one := range e.Errors {
		p.Errors = append(p.Errors, errorDetail(one))
	}
	if len(p.Errors) > 0 {
		first := p.Errors[0]
		p.Detail = strings.TrimSpace(first.Location + " " + first.Message)
		if more := len(p.Errors) - 1; more > 0 {
			p.Detail += fmt.Sprintf(", and %d more", more)
		}
	}
	return p, nil
}

// maxEcho bounds how much of a wrong value goes back to its sender.
const maxEcho = 100

func errorDetail(e *huma.ErrorDetail) client.ErrorDetail {
	d := client.ErrorDetail{Message: e.Message, Location: e.Location}
	switch v := e.Value.(type) {
	case string:
		if len(v) <= maxEcho {
			d.Value = v
		}
	case float64, bool, int64:
		d.Value = v
	}
	return d
}

// writeProblem answers outside huma.
func writeProblem(w http.ResponseWriter, p *Problem) {
	for key, values := range p.GetHeaders() {
		w.Header()[key] = values
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}
