package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/store"
)

// registerContent registers what runs are made of: sources, plans, projects.
func (a *API) registerContent() {
	handle(a, "source-upload", doc{
		summary:     "Upload a source bundle",
		description: "A gzipped tar archive, streamed. It is stored only if it is what the digest says. 201 if it is new, 200 if it was there.",
		request:     octets(), status: http.StatusCreated,
	}, a.sourceUpload)
	handle(a, "source-show", doc{summary: "Ask whether a source bundle is stored"}, a.sourceShow)
	a.registerPlans()
	handle(a, "project-list", doc{summary: "List projects by name"}, a.projectList)
}

// octets describes a body of bytes.
func octets() map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}
}

type DigestRef struct {
	Digest string `path:"digest" pattern:"^sha256:[0-9a-f]{64}$" doc:"sha256: and 64 small hexadecimal digits."`
}

type sourceUpload struct {
	DigestRef
	body io.Reader
}

// Resolve takes the body as a stream; huma would hold it in memory.
func (in *sourceUpload) Resolve(ctx huma.Context) []error {
	in.body = ctx.BodyReader()
	return nil
}

// sourceUpload stores the bytes first and notes them afterwards: a source that the database knows is there. It announces
// them before, so that nobody deletes bytes of the same digest that nothing has needed for a while.
func (a *API) sourceUpload(ctx context.Context, in *sourceUpload) (*answer[client.Source], error) {
	known, err := a.users.SourceExpect(ctx, in.Digest)
	if err != nil {
		return nil, err
	}
	status := http.StatusCreated
	if len(known) > 0 {
		status = http.StatusOK
	}
	object, err := a.cfg.Store.PutSource(ctx, in.body, in.Digest, a.cfg.Limits.SourceBytes)
	if err != nil {
		return nil, a.storeProblem(ctx, err)
	}
	source, err := a.users.SourceStore(ctx, db.SourceStoreParams{Digest: in.Digest, Bytes: object.Size, Actor: caller(ctx).actor()})
	if err != nil {
		return nil, err
	}
	return &answer[client.Source]{Status: status, Location: "/v1/sources/" + in.Digest, Body: encodeSource(source)}, nil
}

func (a *API) sourceShow(ctx context.Context, in *DigestRef) (*output[client.Source], error) {
	source, err := a.users.SourceByDigest(ctx, in.Digest)
	if err != nil {
		return nil, missing(err, "source %s", in.Digest)
	}
	return &output[client.Source]{encodeSource(source)}, nil
}

func (a *API) projectList(ctx context.Context, in *struct{ Paging }) (*pageOutput[client.Project], error) {
	after, err := in.key()
	if err != nil {
		return nil, err
	}
	rows, err := a.users.ProjectList(ctx, db.ProjectListParams{After: after, AtMost: in.atMost()})
	if err != nil {
		return nil, err
	}
	return pageOf(in.Paging, rows, func(p db.Project) client.Project {
		return client.Project{Project: p.Name, CreatedAt: p.CreatedAt.UTC()}
	}, func(p db.Project) string { return p.Name }), nil
}

// storeProblem says what went wrong with an object: what its sender did, or what the store did.
func (a *API) storeProblem(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, store.ErrDigest):
		return newProblem(codeInvalid, "the bytes are not what the digest says").hint("the digest is sha256: and the SHA-256 of the whole body")
	case errors.Is(err, store.ErrTooLarge):
		return newProblem(codeTooLarge, "the source bundle is larger than %d bytes", a.cfg.Limits.SourceBytes).
			hint("leave out what the run does not need")
	case errors.Is(err, store.ErrNotFound):
		return newProblem(codeNotFound, "the object does not exist in the store")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newProblem(codeTimeout, "the body stopped arriving")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return newProblem(codeInvalid, "the body ended too early")
	case errors.Is(err, context.Canceled):
		return err
	}
	a.log.ErrorContext(ctx, "object store failed", "request", requestID(ctx), "error", err)
	return newProblem(codeUnavailable, "the object store cannot be used now").hint("try again in a moment")
}
