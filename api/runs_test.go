package api

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ottoci/otto/client"
)

func TestSources(t *testing.T) {
	t.Parallel()
	n := start(t, func(c *Config) { c.Limits.SourceBytes = 1000 })
	data := []byte("the source")
	digest := digestOf(data)
	refused(t, n.do("reader", "GET", "/v1/sources/"+digest, nil), 404, "not_found")
	made := into[client.Source](t, n.do("writer", "PUT", "/v1/sources/"+digest, data), 201)
	if made.Digest != digest || made.Bytes != int64(len(data)) {
		t.Errorf("%+v", made)
	}
	into[client.Source](t, n.do("writer", "PUT", "/v1/sources/"+digest, data), 200)
	into[client.Source](t, n.do("reader", "GET", "/v1/sources/"+digest, nil), 200)
	refused(t, n.do("writer", "PUT", "/v1/sources/"+digestOf(nil), data), 422, "invalid")
	large := []byte(strings.Repeat("x", 1001))
	refused(t, n.do("writer", "PUT", "/v1/sources/"+digestOf(large), large), 413, "too_large")
	refused(t, n.do("writer", "PUT", "/v1/sources/sha256:ABC", data), 422, "invalid")
	refused(t, n.do("reader", "GET", "/v1/sources/"+digestOf(large), nil), 404, "not_found")
}

func TestPlans(t *testing.T) {
	t.Parallel()
	n := start(t)
	ottofile := client.PlanCreate{Ottofile: smallOttofile, File: "ci/Ottofile"}
	created := n.do("writer", "POST", "/v1/plans", ottofile)
	plan := into[client.PlanAnswer](t, created, 201)
	if created.header.Get("Location") != "/v1/plans/"+plan.Digest || plan.Plan["name"] != "demo" {
		t.Errorf("%s %+v", created.header.Get("Location"), plan.Plan)
	}
	if again := into[client.PlanAnswer](t, n.do("writer", "POST", "/v1/plans", ottofile), 201); again.Digest != plan.Digest {
		t.Error("the same Ottofile gave another plan")
	}
	shown := n.do("reader", "GET", "/v1/plans/"+plan.Digest, nil)
	if digestOf(shown.body) != plan.Digest {
		t.Error("the shown bytes are not those of the digest")
	}
	refused(t, n.do("writer", "POST", "/v1/plans", client.PlanCreate{}), 422, "invalid")
	refused(t, n.do("writer", "POST", "/v1/plans", client.PlanCreate{Ottofile: "x", Model: map[string]any{}}), 422, "invalid")
	large := client.PlanCreate{Ottofile: strings.Repeat("# a comment\n", planBody/10)}
	refused(t, n.do("writer", "POST", "/v1/plans", large), 413, "too_large")
}

func TestPlanWithErrorsListsThemAll(t *testing.T) {
	t.Parallel()
	n := start(t)
	broken := client.PlanCreate{Ottofile: "name: x\nsteeps: []\nstages:\n  - stage: a\n    steps: [{sj: make}]\n", File: "Ottofile.yaml"}
	p := refused(t, n.do("writer", "POST", "/v1/plans", broken), 422, "invalid")
	if len(p.Diagnostics) < 2 || len(p.Errors) < 2 || !strings.HasPrefix(p.Detail, "Ottofile.yaml:2:1: ") {
		t.Fatalf("%+v", p)
	}
	if d := p.Diagnostics[0]; d.Line != 2 || d.Column != 1 || d.Code == "" || d.Snippet == "" || d.Severity != "error" {
		t.Errorf("%+v", d)
	}
	valid := into[client.PlanAnswer](t, n.do("reader", "POST", "/v1/plans/validate", broken), 200)
	if valid.Digest != "" || len(valid.Diagnostics) != len(p.Diagnostics) {
		t.Errorf("%+v", valid)
	}
	good := into[client.PlanAnswer](t, n.do("reader", "POST", "/v1/plans/validate", client.PlanCreate{Ottofile: smallOttofile}), 200)
	refused(t, n.do("reader", "GET", "/v1/plans/"+good.Digest, nil), 404, "not_found")
}

// The model of Otto's ancestor is posted, runs, and is read back.
func TestModelRuns(t *testing.T) {
	t.Parallel()
	n := start(t)
	const model = `{"uuid": "4a4b5a8e-5a0b-4dd0-9a6e-7d0f0e7f2f01", "batches": [
		{"mode": "Linear", "contexts": [{"uuid": "4a4b5a8e-5a0b-4dd0-9a6e-7d0f0e7f2f02", "properties": {"name": "Build"}, "environment": null,
			"steps": [{"uuid": "4a4b5a8e-5a0b-4dd0-9a6e-7d0f0e7f2f03", "context": "4a4b5a8e-5a0b-4dd0-9a6e-7d0f0e7f2f02", "symbol": "sh", "parameters": ["ls"]}]}]},
		{"mode": "Parallel", "contexts": [{"properties": {"name": "Test"}, "steps": [{"symbol": "sh", "parameters": {"script": "ls"}}]}]}]}`
	plan := into[client.PlanAnswer](t, n.do("writer", "POST", "/v1/plans", `{"model": `+model+`}`), 201)
	run := into[client.Run](t, n.do("writer", "POST", "/v1/runs", client.RunCreate{Plan: plan.Digest}), 201)
	agent, _ := n.enrol(client.AgentOffer{})
	for range 2 {
		finish(t, agent, begin(t, agent))
	}
	detail := into[client.RunDetail](t, n.do("reader", "GET", fmt.Sprintf("/v1/runs/%d", run.Run), nil), 200)
	if detail.State != client.Succeeded || detail.Stages[0].Tasks[0].Name != "Build" || detail.Stages[1].Mode != "parallel" {
		t.Errorf("%+v", detail)
	}
	back := into[map[string]any](t, n.do("reader", "GET", "/v1/runs/"+run.ID+"/plan?format=model", nil), 200)
	batches, _ := back["batches"].([]any)
	if back["uuid"] != "4a4b5a8e-5a0b-4dd0-9a6e-7d0f0e7f2f01" || len(batches) != 2 {
		t.Errorf("%v", back)
	}
	for name, bad := range map[string]string{
		"mode":     `{"model": {"batches": [{"mode": "Sideways", "contexts": []}]}}`,
		"no_model": `{"model": {}}`,
	} {
		if p := refused(t, n.do("writer", "POST", "/v1/plans", bad), 422, "invalid"); len(p.Diagnostics) == 0 {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestRunRefs(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.run(smallOttofile)
	run := n.run(smallOttofile)
	for _, ref := range []string{client.RunNumber(run.Run), run.ID, "latest"} {
		if got := into[client.RunDetail](t, n.do("reader", "GET", "/v1/runs/"+ref, nil), 200); got.Run.Run != run.Run || got.Name != "demo" {
			t.Errorf("%s is run %d", ref, got.Run.Run)
		}
	}
	refused(t, n.do("reader", "GET", "/v1/runs/4a4b5a8e-5a0b-4dd0-9a6e-7d0f0e7f2f01", nil), 404, "not_found")
}

func TestRunList(t *testing.T) {
	t.Parallel()
	n := start(t)
	plan := n.plan(smallOttofile)
	c := n.client("writer")
	for i := range 5 {
		if _, err := c.RunCreate(t.Context(), client.RunCreate{Plan: plan, Project: fmt.Sprintf("p%d", i%2)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.RunAbort(t.Context(), "1", client.RunAbort{}); err != nil {
		t.Fatal(err)
	}
	count := func(o client.RunListOptions) int {
		t.Helper()
		runs, err := client.All(func(cursor string) (client.Page[client.Run], error) {
			o.Cursor = cursor
			return c.RunList(t.Context(), o)
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range runs[1:] {
			if r.Run >= runs[i].Run {
				t.Errorf("run %d comes after %d", r.Run, runs[i].Run)
			}
		}
		return len(runs)
	}
	hour := time.Now().Add(time.Hour)
	for name, tt := range map[string]struct {
		o    client.RunListOptions
		want int
	}{
		"pages_of_two":     {client.RunListOptions{Limit: 2}, 5},
		"pages_of_five":    {client.RunListOptions{Limit: 5}, 5},
		"project":          {client.RunListOptions{Project: "p0"}, 3},
		"other_spelling":   {client.RunListOptions{States: []string{"Cancelled"}}, 1},
		"two_states":       {client.RunListOptions{States: []string{"aborted", "running"}, Limit: 3}, 5},
		"until":            {client.RunListOptions{Until: hour}, 5},
		"since_and_states": {client.RunListOptions{Since: hour.Add(-2 * time.Hour), States: []string{"running"}}, 4},
	} {
		if got := count(tt.o); got != tt.want {
			t.Errorf("%s: %d runs, want %d", name, got, tt.want)
		}
	}
	if page := into[client.Page[client.Run]](t, n.do("reader", "GET", "/v1/runs?since="+url.QueryEscape(hour.Format(time.RFC3339))+"&limit=1000000000", nil), 200); len(page.Items) != 0 {
		t.Errorf("%+v", page)
	}
	if page, err := c.ProjectList(t.Context(), client.ListOptions{Limit: 1}); err != nil || page.Items[0].Project != "p0" || page.Next == "" {
		t.Error(page, err)
	}
}

func TestAbortAndRerun(t *testing.T) {
	t.Parallel()
	n := start(t)
	run := n.run(smallOttofile)
	path := "/v1/runs/" + client.RunNumber(run.Run)
	p := refused(t, n.do("writer", "POST", path+"/rerun", nil), 409, "conflict")
	if p.Detail != fmt.Sprintf("run %d is running: cannot rerun", run.Run) {
		t.Error(p.Detail)
	}
	aborted := into[client.Run](t, n.do("writer", "POST", path+"/cancel", nil), 200)
	if aborted.State != client.Aborted || aborted.Reason != "aborted by user:writer" {
		t.Errorf("%+v", aborted)
	}
	refused(t, n.do("writer", "POST", path+"/abort", client.RunAbort{Reason: "again"}), 409, "conflict")
	again := n.do("writer", "POST", path+"/rerun", nil)
	if got := into[client.Run](t, again, 201); got.RerunOf != run.Run || got.State != client.Running || again.header.Get("Location") == "" {
		t.Errorf("%+v", got)
	}
	task := into[client.RunDetail](t, n.do("reader", "GET", "/v1/runs/latest", nil), 200).Stages[0].Tasks[0]
	if got := into[client.Task](t, n.do("writer", "POST", fmt.Sprintf("/v1/tasks/%d/abort", task.Task), nil), 200); got.State != client.Aborted {
		t.Errorf("%+v", got)
	}
	refused(t, n.do("writer", "POST", fmt.Sprintf("/v1/tasks/%d/abort", task.Task), nil), 409, "conflict")
}

func TestRunFromSourceWaitsForItsPlan(t *testing.T) {
	t.Parallel()
	n := start(t)
	data := []byte("a bundle")
	n.do("writer", "PUT", "/v1/sources/"+digestOf(data), data)
	run := into[client.Run](t, n.do("writer", "POST", "/v1/runs", client.RunCreate{Source: digestOf(data), Ottofile: "Ottofile"}), 201)
	if run.State != client.Pending || run.Project != "default" || run.CreatedBy != "user:writer" {
		t.Errorf("%+v", run)
	}
	refused(t, n.do("reader", "GET", "/v1/runs/latest/plan", nil), 404, "not_found")
}

// The names of plans are remembered; each answer has that of its own plan.
func TestRunCreateNamesThePlan(t *testing.T) {
	t.Parallel()
	n := start(t)
	for range 2 {
		for _, name := range []string{"one", "other", ""} {
			ottofile := "stages: [{stage: a, steps: [{sh: a}]}]\n"
			if name != "" {
				ottofile += "name: " + name + "\n"
			}
			if run := n.run(ottofile); run.Name != name {
				t.Errorf("the run of plan %q is named %q", name, run.Name)
			}
		}
	}
}

// Who has an Ottofile that uses more than itself posts what it uses, and gets the plan that it made from the source.
func TestPlanOfAnOttofileThatUsesMore(t *testing.T) {
	t.Parallel()
	n := start(t)
	const commit = "0123456789012345678901234567890123456789"
	body := client.PlanCreate{
		Ottofile: "stages:\n- {stage: a, use: ./ci/a.yaml}\n- {stage: b, use: \"git+https://example.org/ci.git//b.yaml@" + commit + "\", when: 'hash(\"go.sum\", \"*.mod\") == \"abc\"'}\n",
		Files:    map[string]string{"ci/a.yaml": "task: {steps: [{sh: ./a}]}\n"},
		Remotes:  []client.RemoteFile{{Repo: "https://example.org/ci.git", Ref: commit, Path: "b.yaml", Commit: commit, Text: "task: {steps: [{sh: ./b}]}\n"}},
		Hashes:   map[string]string{"go.sum, *.mod": "abc"},
	}
	encoded := string(n.do("writer", "POST", "/v1/plans", body).body)
	for _, want := range []string{`"./a"`, `"./b"`, `"verdict":"true"`, `"hashes":{"go.sum, *.mod":"abc"}`} {
		if !strings.Contains(encoded, want) {
			t.Errorf("the plan does not have %s:\n%s", want, encoded)
		}
	}
	body.Files, body.Hashes = nil, nil
	p := refused(t, n.do("writer", "POST", "/v1/plans", body), 422, "invalid")
	if !strings.Contains(p.Detail, "ci/a.yaml") || len(p.Diagnostics) != 2 {
		t.Errorf("got %q and %v", p.Detail, p.Diagnostics)
	}
}

// A server plans within the limits of its installation.
func TestPlanLimits(t *testing.T) {
	t.Parallel()
	n := start(t, func(c *Config) { c.Plans.MatrixLegs = 2 })
	three := client.PlanCreate{Ottofile: "stages: [{stage: a, matrix: {n: [1, 2, 3]}, steps: [{sh: ./a}]}]"}
	if p := refused(t, n.do("writer", "POST", "/v1/plans", three), 422, "invalid"); !strings.Contains(p.Detail, "more than 2 legs") {
		t.Errorf("got %q", p.Detail)
	}
}
