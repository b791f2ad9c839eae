package api

import (
	"context"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// handler is the work of an operation: decode, one call of the database, encode.
type handler[I, O any] func(context.Context, *I) (*O, error)

// doc is what the OpenAPI document says of an operation beyond its row and its types.
type doc struct {
	summary     string
	description string
	status      int // of success; 200, or 204 without a body, if zero
	hidden      bool
	request     map[string]*huma.MediaType // of a streamed body
	answers     map[string]*huma.MediaType // of a streamed answer
}

// handle registers the handler of an operation that is in the route table.
func handle[I, O any](a *API, operation string, d doc, h handler[I, O]) {
	row, ok := a.table.take(operation)
	if !ok {
		return
	}
	op := a.operation(row, d)
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		a.metrics.transition(row.transition)
		return out, nil
	})
}

// operation describes a row in OpenAPI.
func (a *API) operation(row route, d doc) huma.Operation {
	op := huma.Operation{
		OperationID: row.operation, Method: row.method, Path: row.path,
		Summary: d.summary, Description: d.description, DefaultStatus: d.status, Hidden: d.hidden,
		Tags:            []string{strings.SplitN(row.operation, "-", 2)[0]},
		MaxBodyBytes:    -1, // the gate has read the body
		BodyReadTimeout: -1,
		Responses:       a.problems(row),
		Extensions:      map[string]any{"x-otto-permission": string(row.permission)},
	}
	if row.permission == permitPublic {
		op.Security = []map[string][]string{}
	}
	if d.request != nil {
		op.RequestBody = &huma.RequestBody{Required: true, Content: d.request}
	}
	if d.answers != nil {
		op.Responses["200"] = &huma.Response{Description: "OK", Content: d.answers}
	}
	return op
}

// problems are the refusals that an operation can answer with.
func (a *API) problems(row route) map[string]*huma.Response {
	codes := []int{http.StatusInternalServerError, http.StatusServiceUnavailable}
	if row.permission != permitPublic {
		codes = append(codes, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests)
	}
	if row.body != noBody {
		codes = append(codes, http.StatusRequestEntityTooLarge, http.StatusRequestTimeout)
	}
	if row.operation == "task-log" {
		codes = append(codes, http.StatusRequestedRangeNotSatisfiable)
	}
	if row.body > 0 {
		codes = append(codes, http.StatusBadRequest, http.StatusUnsupportedMediaType)
	}
	if row.transition != "" {
		codes = append(codes, http.StatusConflict, http.StatusNotFound)
	}
	if strings.Contains(row.path, "{") {
		codes = append(codes, http.StatusNotFound)
	}
	if row.permission != permitPublic {
		codes = append(codes, http.StatusUnprocessableEntity)
	}
	responses := map[string]*huma.Response{}
	for _, code := range codes {
		responses[strconv.Itoa(code)] = &huma.Response{
			Description: http.StatusText(code),
			Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: schemaOf[Problem](a)}},
		}
	}
	return responses
}

// schemaOf is the schema of a type, in the document's components.
func schemaOf[T any](a *API) *huma.Schema {
	t := reflect.TypeFor[T]()
	return a.huma.OpenAPI().Components.Schemas.Schema(t, true, t.Name())
}
