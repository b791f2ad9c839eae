package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Runs are named by their number, their run id, or "latest"; RunNumber makes a name of a number.

// RunNumber is the name of a run by its number.
func RunNumber(n int64) string { return strconv.FormatInt(n, 10) }

// ListOptions page a list; zero values give the first page of the usual size.
type ListOptions struct {
	Limit  int
	Cursor string // Next of the page before
}

func (o ListOptions) query() url.Values {
	q := url.Values{}
	set(q, "limit", o.Limit)
	set(q, "cursor", o.Cursor)
	return q
}

// All reads a list to its end, page after page.
func All[T any](list func(cursor string) (Page[T], error)) ([]T, error) {
	var items []T
	for cursor := ""; ; {
		page, err := list(cursor)
		if err != nil {
			return items, err
		}
		items = append(items, page.Items...)
		if cursor = page.Next; cursor == "" {
			return items, nil
		}
	}
}

// HealthShow asks whether the server's process lives.
func (c *Client) HealthShow(ctx context.Context) (Health, error) {
	return call[Health](ctx, c, get("/health"), nil)
}

// HealthReady asks whether the server can work; the error says what is wrong.
func (c *Client) HealthReady(ctx context.Context) (Health, error) {
	return call[Health](ctx, c, get("/health/ready"), nil)
}

// SelfShow asks who the client's token belongs to.
func (c *Client) SelfShow(ctx context.Context) (Self, error) {
	return call[Self](ctx, c, get("/v1/self"), nil)
}

// TokenCreate makes a token. Its secret is in the answer only.
func (c *Client) TokenCreate(ctx context.Context, token TokenCreate) (TokenCreated, error) {
	return change[TokenCreated](ctx, c, post("/v1/tokens"), token)
}

// TokenList lists tokens by number.
func (c *Client) TokenList(ctx context.Context, o ListOptions) (Page[Token], error) {
	return call[Page[Token]](ctx, c, list("/v1/tokens", o.query()), nil)
}

// TokenRevoke revokes a token.
func (c *Client) TokenRevoke(ctx context.Context, token int64) (Token, error) {
	return call[Token](ctx, c, operation{method: http.MethodDelete, path: number("/v1/tokens", token, "")}, nil)
}

// ProjectList lists projects by name.
func (c *Client) ProjectList(ctx context.Context, o ListOptions) (Page[Project], error) {
	return call[Page[Project]](ctx, c, list("/v1/projects", o.query()), nil)
}

// SourceUpload stores a source bundle of size bytes; a negative size is unknown. It is not repeated by itself: the reader
// is read once.
func (c *Client) SourceUpload(ctx context.Context, digest string, r io.Reader, size int64) (Source, error) {
	var out Source
	path := "/v1/sources/" + url.PathEscape(digest)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.base+path, r)
	if err != nil {
		return out, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.ContentLength = size
	resp, err := c.send(req)
	if err != nil {
		return out, err
	}
	defer drain(resp.Body)
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswerBytes)).Decode(&out); err != nil {
		return out, fmt.Errorf("PUT %s: read answer: %w", path, err)
	}
	return out, nil
}

// SourceShow asks whether a source bundle is stored; if it is not, the error has status 404.
func (c *Client) SourceShow(ctx context.Context, digest string) (Source, error) {
	return call[Source](ctx, c, get("/v1/sources/"+url.PathEscape(digest)), nil)
}

// PlanCreate plans an Ottofile or a model, and stores the plan.
func (c *Client) PlanCreate(ctx context.Context, plan PlanCreate) (PlanAnswer, error) {
	return change[PlanAnswer](ctx, c, post("/v1/plans"), plan)
}

// PlanValidate plans an Ottofile or a model, and stores nothing.
func (c *Client) PlanValidate(ctx context.Context, plan PlanCreate) (PlanAnswer, error) {
	return call[PlanAnswer](ctx, c, post("/v1/plans/validate"), plan)
}

// The forms of a plan.
const (
	FormatPlan  = "plan"  // the stored bytes
	FormatModel = "model" // batches of contexts
)

// PlanShow reads a plan in one of its forms; FormatPlan if empty.
func (c *Client) PlanShow(ctx context.Context, digest, format string) (json.RawMessage, error) {
	return c.plan(ctx, "/v1/plans/"+url.PathEscape(digest), format)
}

// RunPlanShow reads the plan of a run in one of its forms; FormatPlan if empty.
func (c *Client) RunPlanShow(ctx context.Context, run, format string) (json.RawMessage, error) {
	return c.plan(ctx, runPath(run, "/plan"), format)
}

// plan reads bytes as they are: a plan's digest is of them.
func (c *Client) plan(ctx context.Context, path, format string) (json.RawMessage, error) {
	q := url.Values{}
	set(q, "format", format)
	resp, err := c.open(ctx, list(path, q), nil)
	if err != nil {
		return nil, err
	}
	defer drain(resp.Body)
	return io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
}

// RunCreate starts a run.
func (c *Client) RunCreate(ctx context.Context, run RunCreate) (Run, error) {
	return change[Run](ctx, c, post("/v1/runs"), run)
}

// RunListOptions choose runs; zero values choose all.
type RunListOptions struct {
	States       []string
	Project      string
	Since, Until time.Time
	Limit        int
	Cursor       string // Next of the page before
}

// RunList lists runs, newest first.
func (c *Client) RunList(ctx context.Context, o RunListOptions) (Page[Run], error) {
	q := ListOptions{o.Limit, o.Cursor}.query()
	for _, state := range o.States {
		q.Add("state", state)
	}
	set(q, "project", o.Project)
	for key, at := range map[string]time.Time{"since": o.Since, "until": o.Until} {
		if !at.IsZero() {
			q.Set(key, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return call[Page[Run]](ctx, c, list("/v1/runs", q), nil)
}

// RunShow reads a run with its stages, tasks and steps.
func (c *Client) RunShow(ctx context.Context, run string) (RunDetail, error) {
	return call[RunDetail](ctx, c, get(runPath(run, "")), nil)
}

// RunAbort stops a run; a second time it stops what is marked always, too.
func (c *Client) RunAbort(ctx context.Context, run string, why RunAbort) (Run, error) {
	return change[Run](ctx, c, post(runPath(run, "/abort")), why)
}

// RunRerun repeats a final run as a new one.
func (c *Client) RunRerun(ctx context.Context, run string) (Run, error) {
	return change[Run](ctx, c, post(runPath(run, "/rerun")), nil)
}

// TaskShow reads a task with its attempts.
func (c *Client) TaskShow(ctx context.Context, task int64) (TaskDetail, error) {
	return call[TaskDetail](ctx, c, get(number("/v1/tasks", task, "")), nil)
}

// TaskWhy says why a task does not run.
func (c *Client) TaskWhy(ctx context.Context, task int64) (TaskWhy, error) {
	return call[TaskWhy](ctx, c, get(number("/v1/tasks", task, "/why")), nil)
}

// TaskAbort stops one task.
func (c *Client) TaskAbort(ctx context.Context, task int64, why RunAbort) (Task, error) {
	return change[Task](ctx, c, post(number("/v1/tasks", task, "/abort")), why)
}

// LeaseListOptions choose leases; zero values choose all.
type LeaseListOptions struct {
	Agent  int64
	Limit  int
	Cursor string // Next of the page before
}

// LeaseList lists the leases that are being worked on.
func (c *Client) LeaseList(ctx context.Context, o LeaseListOptions) (Page[LeaseInfo], error) {
	q := ListOptions{o.Limit, o.Cursor}.query()
	set(q, "agent", int(o.Agent))
	return call[Page[LeaseInfo]](ctx, c, list("/v1/leases", q), nil)
}

// AgentListOptions choose agents; zero values choose all.
type AgentListOptions struct {
	State    string
	Requires map[string]any // only agents that offer this, by the rule that hands out tasks
	Limit    int
	Cursor   string // Next of the page before
}

// AgentList lists agents by number.
func (c *Client) AgentList(ctx context.Context, o AgentListOptions) (Page[Agent], error) {
	q := ListOptions{o.Limit, o.Cursor}.query()
	set(q, "state", o.State)
	if len(o.Requires) > 0 {
		requires, err := json.Marshal(o.Requires)
		if err != nil {
			return Page[Agent]{}, err
		}
		set(q, "requires", string(requires))
	}
	return call[Page[Agent]](ctx, c, list("/v1/agents", q), nil)
}

// AgentShow reads an agent.
func (c *Client) AgentShow(ctx context.Context, agent int64) (Agent, error) {
	return call[Agent](ctx, c, get(number("/v1/agents", agent, "")), nil)
}

// AgentDisable takes an agent out of service.
func (c *Client) AgentDisable(ctx context.Context, agent int64) (Agent, error) {
	return change[Agent](ctx, c, post(number("/v1/agents", agent, "/disable")), nil)
}

// AgentEnable lets an agent back into service.
func (c *Client) AgentEnable(ctx context.Context, agent int64) (Agent, error) {
	return change[Agent](ctx, c, post(number("/v1/agents", agent, "/enable")), nil)
}

func runPath(run, verb string) string { return "/v1/runs/" + url.PathEscape(run) + verb }

func number(path string, n int64, verb string) string {
	return path + "/" + strconv.FormatInt(n, 10) + verb
}

func list(path string, q url.Values) operation {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return get(path)
}

// set adds a parameter, unless its value is the zero value.
func set[T comparable](q url.Values, key string, value T) {
	var zero T
	if value != zero {
		q.Set(key, fmt.Sprint(value))
	}
}
