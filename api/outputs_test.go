package api

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
)

// knowing is an agent of this version.
func knowing() client.AgentOffer { return client.AgentOffer{Protocol: []string{client.ProtocolTask}} }

// runTasks starts a run of tasks, one after the other.
func (n *node) runTasks(tasks ...pipeline.Task) client.Run {
	n.t.Helper()
	plan := pipeline.Plan{Version: pipeline.PlanVersion, Stages: []pipeline.Stage{{Name: "s", Mode: pipeline.Linear}}}
	for i, task := range tasks {
		if task.Name == "" {
			task.Name = fmt.Sprint("task ", i)
		}
		task.TimeoutMS, task.OnLost = 60_000, pipeline.OnLostRetry
		if task.Steps == nil {
			task.Steps = []pipeline.Step{{Name: "one", Sh: "true", ExitCodes: map[string]string{"0": "succeeded"}}}
		}
		plan.Stages[0].Tasks = append(plan.Stages[0].Tasks, task)
	}
	body, digest, err := plan.Encode()
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := db.New(n.db.App).PlanStore(n.t.Context(), db.PlanStoreParams{Digest: digest, Body: body}); err != nil {
		n.t.Fatal(err)
	}
	return into[client.Run](n.t, n.do("writer", "POST", "/v1/runs", client.RunCreate{Plan: digest}), 201)
}

// finished is a result with outputs.
func finished(lease client.Lease, outputs map[string]any) client.LeaseFinish {
	zero := 0
	return client.LeaseFinish{Epoch: lease.Epoch, ExitCode: &zero, Steps: []client.StepReport{{State: "succeeded", ExitCode: &zero}}, Outputs: outputs}
}

func TestOutputs(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(knowing())
	run := n.runTasks(
		pipeline.Task{Outputs: map[string]string{"version": "string", "count": "integer", "ok": "boolean", "list": "json"}},
		pipeline.Task{}, pipeline.Task{Outputs: map[string]string{"unsaid": "string"}})
	outputs := map[string]any{"version": "<1.2>", "count": 9007199254740991.0, "ok": false, "list": []any{1.5, nil, map[string]any{"a": "b"}}}
	lease := begin(t, agent)
	if diff := cmp.Diff(map[string]string{"version": "string", "count": "integer", "ok": "boolean", "list": "json"}, lease.Spec.Outputs); diff != "" {
		t.Error(diff)
	}
	for range 2 { // a repeat is answered alike
		if state, err := agent.LeaseFinish(t.Context(), lease.ID, finished(lease, outputs)); err != nil || state.State != "succeeded" {
			t.Fatal(state, err)
		}
	}
	second := begin(t, agent)
	answer, err := agent.LeaseReport(t.Context(), client.LeaseReports{Finishes: []client.LeaseFinished{{Lease: second.ID, LeaseFinish: finished(second, nil)}}})
	if err != nil || answer.Finishes[0].Problem != nil {
		t.Fatal(answer, err)
	}
	third := begin(t, agent)
	if _, err := agent.LeaseFinish(t.Context(), third.ID, finished(third, nil)); err != nil {
		t.Fatal(err)
	}

	users := n.client("reader")
	detail, err := users.RunShow(t.Context(), client.RunNumber(run.Run))
	if err != nil {
		t.Fatal(err)
	}
	tasks := detail.Stages[0].Tasks
	if diff := cmp.Diff([]map[string]any{outputs, nil, nil}, []map[string]any{tasks[0].Outputs, tasks[1].Outputs, tasks[2].Outputs}); diff != "" {
		t.Error(diff)
	}
	shown, err := users.TaskShow(t.Context(), tasks[0].Task)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(outputs, shown.Outputs); diff != "" {
		t.Error(diff)
	}
	named := map[string]any{}
	for _, e := range n.history(run.Run) {
		if names, ok := e.Data["outputs"]; ok {
			named[fmt.Sprint(e.Kind, " ", e.Name)] = names
		}
	}
	if diff := cmp.Diff(map[string]any{"task.succeeded task 0": []any{"count", "list", "ok", "version"}}, named); diff != "" {
		t.Error(diff)
	}
}

func TestOutputs_that_are_refused(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(knowing())
	n.runTasks(pipeline.Task{Outputs: map[string]string{"version": "string", "list": "json"}})
	lease := begin(t, agent)
	deep := any("x")
	for range 70 {
		deep = []any{deep}
	}
	for name, c := range map[string]struct {
		outputs map[string]any
		want    string
	}{
		"undeclared": {map[string]any{"other": "x"}, `the output "other" is not declared: the task declares list, version`},
		"wrong_type": {map[string]any{"version": 1}, "the output version is an integer, and is declared as string"},
		"too_deep":   {map[string]any{"list": deep}, "the output list is nested deeper than 64 levels"},
		"zero_byte":  {map[string]any{"list": map[string]any{"\x00": 1}}, "the output list holds a zero byte"},
		"too_much":   {map[string]any{"version": strings.Repeat("x", client.MaxOutputs)}, "the outputs are larger than 256 KiB: put large results into a file"},
	} {
		t.Run(name, func(t *testing.T) {
			want := "lease " + lease.ID + ": " + c.want
			if _, err := agent.LeaseFinish(t.Context(), lease.ID, finished(lease, c.outputs)); !client.IsStatus(err, 422) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
			answer, err := agent.LeaseReport(t.Context(), client.LeaseReports{Finishes: []client.LeaseFinished{{Lease: lease.ID, LeaseFinish: finished(lease, c.outputs)}}})
			if err != nil || answer.Finishes[0].Problem == nil || answer.Finishes[0].Problem.Detail != want {
				t.Errorf("got %+v, %v", answer, err)
			}
		})
	}
	// All of what is allowed, each character escaped.
	full := map[string]any{"version": strings.Repeat("<", client.MaxOutputs-len(`{"version":""}`)-1)}
	if state, err := agent.LeaseFinish(t.Context(), lease.ID, finished(lease, full)); err != nil || state.State != "succeeded" {
		t.Error(state, err)
	}
}

// Another agent hears nothing of what a task declares.
func TestOutputs_of_a_lease_of_another(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(knowing())
	other, _ := n.enrol(client.AgentOffer{Name: "other"})
	n.runTasks(pipeline.Task{Outputs: map[string]string{"version": "string"}})
	lease := begin(t, agent)
	_, err := other.LeaseFinish(t.Context(), lease.ID, finished(lease, map[string]any{"x": 1}))
	if !client.IsStatus(err, 403) || strings.Contains(err.Error(), "version") {
		t.Errorf("got %v", err)
	}
}

// The outputs of an attempt that was followed by another are not the task's.
func TestOutputs_of_the_last_attempt(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(knowing())
	run := n.runTasks(pipeline.Task{Outputs: map[string]string{"v": "string"}, Retries: &pipeline.Retries{Limit: 2, On: []string{"failed"}}})
	users := n.client("reader")
	outputs := func() map[string]any {
		t.Helper()
		detail, err := users.RunShow(t.Context(), client.RunNumber(run.Run))
		if err != nil {
			t.Fatal(err)
		}
		return detail.Stages[0].Tasks[0].Outputs
	}
	for _, v := range []string{"first", "second"} {
		lease := begin(t, agent)
		result := finished(lease, map[string]any{"v": v})
		result.Outcome = "failed"
		if state, err := agent.LeaseFinish(t.Context(), lease.ID, result); err != nil || state.State != "ready" {
			t.Fatal(state, err)
		}
		if got := outputs(); got != nil {
			t.Errorf("between attempts the task has %v", got)
		}
	}
	lease := begin(t, agent)
	if _, err := agent.LeaseFinish(t.Context(), lease.ID, finished(lease, nil)); err != nil {
		t.Fatal(err)
	}
	if got := outputs(); got != nil {
		t.Errorf("the last attempt said nothing, and the task has %v", got)
	}
	for _, e := range n.history(run.Run) {
		if e.Data["outputs"] != nil {
			t.Errorf("%s names %v", e.Kind, e.Data["outputs"])
		}
	}
}

// A run whose outputs are many is still shown; who wants all of them asks for the tasks.
func TestOutputs_that_are_too_many_to_show(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(knowing())
	tasks := slices.Repeat([]pipeline.Task{{Outputs: map[string]string{"v": "string"}}}, 20)
	run := n.runTasks(tasks...)
	value := strings.Repeat("x", 250<<10)
	for range tasks {
		lease := begin(t, agent)
		if _, err := agent.LeaseFinish(t.Context(), lease.ID, finished(lease, map[string]any{"v": value})); err != nil {
			t.Fatal(err)
		}
	}
	users := n.client("reader")
	detail, err := users.RunShow(t.Context(), client.RunNumber(run.Run))
	if err != nil {
		t.Fatal(err)
	}
	shown, elsewhere := 0, 0
	for _, task := range detail.Stages[0].Tasks {
		switch {
		case task.Outputs["v"] == value && !task.OutputsElsewhere:
			shown++
		case task.Outputs == nil && task.OutputsElsewhere:
			elsewhere++
			one, err := users.TaskShow(t.Context(), task.Task)
			if err != nil || one.Outputs["v"] != value {
				t.Errorf("task %d has %d bytes, %v", task.Task, len(fmt.Sprint(one.Outputs["v"])), err)
			}
		}
	}
	if shown != 16 || elsewhere != 4 {
		t.Errorf("%d are shown, %d are elsewhere", shown, elsewhere)
	}
}

// What an agent of the version before would not understand it is not given.
func TestTasksForAgentsThatKnowThem(t *testing.T) {
	t.Parallel()
	shell := []pipeline.Step{{Name: "one", Sh: "true", Shell: []string{"bash"}, ExitCodes: map[string]string{"0": "succeeded"}}}
	omitted := []pipeline.Step{{Name: "one", Sh: "true", Omitted: "no", ExitCodes: map[string]string{"0": "succeeded"}}}
	for name, task := range map[string]pipeline.Task{
		"outputs": {Outputs: map[string]string{"v": "string"}},
		"image":   {Image: "golang:1.26"},
		"shell":   {Steps: shell},
		"omitted": {Steps: omitted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := start(t)
			before, _ := n.enrol(client.AgentOffer{Name: "before", Protocol: []string{"log-zstd"}, Offers: map[string]any{"os": "linux", offerProtocol: client.ProtocolTask}})
			task.Requires = map[string]any{"os": "linux"}
			run := n.runTasks(task)
			if answer, err := before.LeaseTake(t.Context(), client.LeaseRequest{Free: 1, WaitMS: 200}); err != nil || len(answer.Leases) > 0 {
				t.Fatal(answer, err)
			}
			detail, err := n.client("reader").RunShow(t.Context(), client.RunNumber(run.Run))
			if err != nil {
				t.Fatal(err)
			}
			if got := detail.Stages[0].Tasks[0].WaitingFor; got != "an agent that offers os=linux, otto.protocol=task-2: the one that is online does not, and no other has enrolled that could" {
				t.Errorf("it waits for %s", got)
			}
			offer := knowing()
			offer.Offers = map[string]any{"os": "linux"}
			after, _ := n.enrol(offer)
			lease := take(t, after)
			if lease.Spec.Image != task.Image || len(lease.Spec.Outputs) != len(task.Outputs) {
				t.Errorf("the agent got %+v", lease.Spec)
			}
			if task.Steps != nil && (lease.Spec.Steps[0].Omitted != task.Steps[0].Omitted || !slices.Equal(lease.Spec.Steps[0].Shell, task.Steps[0].Shell)) {
				t.Errorf("the agent got %+v", lease.Spec.Steps[0])
			}
		})
	}
	t.Run("nothing_of_it", func(t *testing.T) {
		t.Parallel()
		n := start(t)
		before, _ := n.enrol(client.AgentOffer{Name: "before"})
		n.runTasks(pipeline.Task{})
		take(t, before)
	})
}

// The event of a request is that of planning, field by field.
func TestSourceEventIsThatOfPlans(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]reflect.Type{
		{reflect.TypeFor[client.SourceEvent](), reflect.TypeFor[pipeline.Event]()},
		{reflect.TypeFor[client.PullRequest](), reflect.TypeFor[pipeline.PullRequest]()},
		{reflect.TypeFor[client.Upstream](), reflect.TypeFor[pipeline.Upstream]()},
	} {
		names := func(of reflect.Type) (list []string) {
			for i := range of.NumField() {
				name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
				list = append(list, of.Field(i).Name+" "+name)
			}
			return list
		}
		if diff := cmp.Diff(names(pair[1]), names(pair[0])); diff != "" {
			t.Errorf("%s: %s", pair[0], diff)
		}
	}
}

func TestRunIsCreatedWithFacts(t *testing.T) {
	t.Parallel()
	n := start(t)
	plan := n.plan(smallOttofile)
	event := &client.SourceEvent{Kind: "push", Branch: "main", Changed: []string{"a", "b"}}
	params := map[string]any{"environment": "staging", "n": 3.0}
	with := into[client.Run](t, n.do("writer", "POST", "/v1/runs", client.RunCreate{Plan: plan, Event: event, Params: params}), 201)
	without := into[client.Run](t, n.do("writer", "POST", "/v1/runs", client.RunCreate{Plan: plan}), 201)
	again := into[client.Run](t, n.do("writer", "POST", "/v1/runs", client.RunCreate{Plan: plan, Event: event, Params: params}, "Idempotency-Key", "k"), 201)
	if same := into[client.Run](t, n.do("writer", "POST", "/v1/runs", client.RunCreate{Plan: plan, Event: event, Params: params}, "Idempotency-Key", "k"), 201); same.Run != again.Run {
		t.Errorf("the same request gave runs %d and %d", again.Run, same.Run)
	}
	if r := n.do("writer", "POST", "/v1/runs", client.RunCreate{Plan: plan, Params: params}, "Idempotency-Key", "k"); r.status != http.StatusConflict && r.status != http.StatusUnprocessableEntity {
		t.Errorf("the key was used for another event: %d %s", r.status, r.body)
	}
	facts := func(run int64) []db.RunFactsRow {
		t.Helper()
		rows, err := db.New(n.db.App).RunFacts(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	for _, run := range []int64{with.Run, again.Run} {
		rows := facts(run)
		if len(rows) != 1 {
			t.Fatal(rows)
		}
		if diff := cmp.Diff(*event, decodeTo[client.SourceEvent](rows[0].Event)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(params, decodeTo[map[string]any](rows[0].Params)); diff != "" {
			t.Error(diff)
		}
	}
	if rows := facts(without.Run); len(rows) != 0 {
		t.Errorf("run %d has %+v", without.Run, rows)
	}
}

func TestFactsThatAreRefused(t *testing.T) {
	t.Parallel()
	n := start(t)
	plan := n.plan(smallOttofile)
	for name, c := range map[string]struct {
		body client.RunCreate
		want string
	}{
		"unknown_kind":      {client.RunCreate{Event: &client.SourceEvent{Kind: "pushed"}}, "body.event.kind"},
		"tag_without":       {client.RunCreate{Event: &client.SourceEvent{Kind: "tag"}}, "an event of the kind tag needs tag"},
		"push_of_a_tag":     {client.RunCreate{Event: &client.SourceEvent{Kind: "push", Tag: "v1"}}, "tag is of an event of the kind tag, and this is of the kind push"},
		"pull_request_zero": {client.RunCreate{Event: &client.SourceEvent{Kind: "pull_request", PullRequest: &client.PullRequest{}}}, "body.event.pull_request.number"},
		"too_many_paths":    {client.RunCreate{Event: &client.SourceEvent{Kind: "push", Changed: slices.Repeat([]string{"a"}, 10_001)}}, "body.event.changed"},
		"too_long_paths":    {client.RunCreate{Event: &client.SourceEvent{Kind: "push", Changed: slices.Repeat([]string{strings.Repeat("a", 1100)}, 1000)}}, "the changed paths are 1074 KiB together, and 1024 are allowed"},
		"too_much":          {client.RunCreate{Params: map[string]any{"a": strings.Repeat("x", 64<<10)}}, "the parameters are 64 KiB of JSON, and 64 are allowed"},
		"zero_byte":         {client.RunCreate{Params: map[string]any{"a": "\x00"}}, "a character that cannot be stored"},
	} {
		t.Run(name, func(t *testing.T) {
			c.body.Plan = plan
			if r := n.do("writer", "POST", "/v1/runs", c.body); r.status != 422 || !strings.Contains(string(r.body), c.want) {
				t.Errorf("got %d %s", r.status, r.body)
			}
		})
	}
}

// history is all events of a run that has ended.
func (n *node) history(run int64) (list []client.Event) {
	n.t.Helper()
	err := n.client("reader").RunEvents(n.t.Context(), client.RunNumber(run), "", func(e client.Event) error {
		list = append(list, e)
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return list
}
