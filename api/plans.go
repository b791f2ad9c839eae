package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
)

func (a *API) registerPlans() {
	handle(a, "plan-create", doc{
		summary:     "Plan an Ottofile, or a posted model, and store the plan",
		description: "With errors nothing is stored: the answer is 422 and lists all diagnostics. The same input gives the same plan and digest.",
		status:      http.StatusCreated,
	}, a.planCreate)
	handle(a, "plan-validate", doc{
		summary:     "Plan an Ottofile, or a posted model, and store nothing",
		description: "Always 200; with errors among the diagnostics there is no plan.",
	}, a.planValidate)
	handle(a, "plan-show", doc{
		summary: "Read a plan", description: "The stored bytes, of which the digest is; or the form of batches and contexts.", answers: planForms(),
	}, a.planShow)
}

// planForms describes the two forms of a plan.
func planForms() map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}}}
}

type planInput struct {
	Idempotent
	Body client.PlanCreate
}

func (a *API) planCreate(ctx context.Context, in *planInput) (*answer[client.PlanAnswer], error) {
	plan, diagnostics, err := a.compile(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	if plan == nil {
		return nil, planProblem(diagnostics)
	}
	body, digest, err := plan.Encode()
	if err != nil {
		return nil, err
	}
	return mutate(ctx, a.cfg.Pool, in.Key, func(q *db.Queries) (answer[client.PlanAnswer], error) {
		if _, err := q.PlanStore(ctx, db.PlanStoreParams{Digest: digest, Body: body}); err != nil {
			return answer[client.PlanAnswer]{}, err
		}
		return answer[client.PlanAnswer]{http.StatusCreated, "/v1/plans/" + digest, planAnswer(body, digest, diagnostics)}, nil
	})
}

func (a *API) planValidate(ctx context.Context, in *struct{ Body client.PlanCreate }) (*output[client.PlanAnswer], error) {
	plan, diagnostics, err := a.compile(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	if plan == nil {
		return &output[client.PlanAnswer]{client.PlanAnswer{Diagnostics: encodeDiagnostics(diagnostics)}}, nil
	}
	body, digest, err := plan.Encode()
	if err != nil {
		return nil, err
	}
	return &output[client.PlanAnswer]{planAnswer(body, digest, diagnostics)}, nil
}

// compile plans what was posted. The model is read from the body's own bytes, so that its diagnostics can point at them.
func (a *API) compile(ctx context.Context, in client.PlanCreate) (*pipeline.Plan, pipeline.Diagnostics, error) {
	switch {
	case (in.Ottofile == "") == (in.Model == nil):
		return nil, nil, newProblem(codeInvalid, "a plan is made of either an ottofile or a model")
	case in.Model != nil && (in.Event != nil || len(in.Params) > 0):
		return nil, nil, newProblem(codeInvalid, "a model has neither an event nor parameters").hint("leave out event and params")
	case in.Model != nil:
		var raw struct {
			Model json.RawMessage `json:"model"`
		}
		if err := json.Unmarshal(requestOf(ctx).body, &raw); err != nil {
			return nil, nil, newProblem(codeInvalid, "the body is not JSON")
		}
		plan, diagnostics := pipeline.FromModel(raw.Model)
		return plan, diagnostics, nil
	}
	name := in.File
	if name == "" {
		name = "Ottofile.yaml"
	}
	known, err := facts(in.Event, in.Params)
	if err != nil {
		return nil, nil, err
	}
	known.Limits = a.cfg.Plans
	known.Tree, known.Hashes, known.Remotes = postedTree(in.Files), in.Hashes, map[pipeline.Remote]pipeline.RemoteFile{}
	for _, r := range in.Remotes {
		known.Remotes[pipeline.Remote{Repo: r.Repo, Ref: r.Ref, Path: r.Path}] = pipeline.RemoteFile{Commit: r.Commit, Data: []byte(r.Text)}
	}
	plan, diagnostics := pipeline.Compile(pipeline.File{Name: name, Data: []byte(in.Ottofile)}, known)
	return plan, diagnostics, nil
}

// postedTree is a source of which planning has been given the files that it reads.
type postedTree map[string]string

// ReadFile gives a file that was posted.
func (t postedTree) ReadFile(path string) ([]byte, error) {
	text, ok := t[path]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
	}
	return []byte(text), nil
}

// Digests knows none: what hash answers is posted, too.
func (t postedTree) Digests(func(path string) bool) (map[string]string, error) {
	return nil, errors.New("the digests of files were not given: post hashes")
}

func planAnswer(body []byte, digest string, diagnostics pipeline.Diagnostics) client.PlanAnswer {
	return client.PlanAnswer{Digest: digest, Plan: decodeTo[map[string]any](body), Diagnostics: encodeDiagnostics(diagnostics)}
}

func encodeDiagnostics(list pipeline.Diagnostics) []client.Diagnostic {
	out := []client.Diagnostic{}
	for _, d := range list {
		out = append(out, client.Diagnostic{
			Code: string(d.Code), Severity: string(d.Severity), Message: d.Message,
			File: d.File, Line: d.Line, Column: d.Column, Snippet: d.Snippet, Suggestion: d.Suggestion, Used: d.Used,
		})
	}
	return out
}

// planProblem refuses input that has errors, and lists all there is to say.
func planProblem(diagnostics pipeline.Diagnostics) *Problem {
	p := newProblem(codeInvalid, "there is no plan: the pipeline has errors").hint("see diagnostics")
	p.Diagnostics = encodeDiagnostics(diagnostics)
	var first *client.Diagnostic
	for i, d := range p.Diagnostics {
		if d.Severity != string(pipeline.SeverityError) {
			continue
		}
		if first == nil {
			first = &p.Diagnostics[i]
		}
		p.Errors = append(p.Errors, client.ErrorDetail{Message: d.Message, Location: fmt.Sprintf("%s:%d:%d", d.File, d.Line, d.Column), Value: d.Code})
	}
	if first != nil {
		p.Detail = fmt.Sprintf("%s:%d:%d: %s", first.File, first.Line, first.Column, first.Message)
		if more := len(p.Errors) - 1; more > 0 {
			p.Detail += fmt.Sprintf(", and %d more", more)
		}
	}
	return p
}

// PlanForm is a part of the input of operations that answer a plan.
type PlanForm struct {
	Format string `query:"format" enum:"plan,model" default:"plan" doc:"plan: the stored bytes. model: batches of contexts."`
}

type planOutput struct {
	ContentType string `header:"Content-Type"`
	Digest      string `header:"X-Otto-Plan" doc:"Digest of the plan."`
	Body        []byte
}

func (a *API) planShow(ctx context.Context, in *struct {
	DigestRef
	PlanForm
}) (*planOutput, error) {
	plan, err := a.users.PlanByDigest(ctx, in.Digest)
	if err != nil {
		return nil, missing(err, "plan %s", in.Digest)
	}
	return in.encode(plan.Digest, plan.Body)
}

// encode writes a stored plan in the form that was asked for.
func (f PlanForm) encode(digest string, body []byte) (*planOutput, error) {
	out := &planOutput{ContentType: "application/json", Digest: digest, Body: body}
	if f.Format != "model" {
		return out, nil
	}
	var plan pipeline.Plan
	err := json.Unmarshal(body, &plan)
	if err == nil {
		out.Body, err = json.Marshal(plan.Model())
	}
	if err != nil {
		return nil, fmt.Errorf("write plan %s as a model: %w", digest, err)
	}
	return out, nil
}
