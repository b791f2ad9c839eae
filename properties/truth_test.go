package properties

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
)

// occasion is an event with parameters; the truths of a condition stand in the order of these.
type occasion struct {
	name  string
	facts pipeline.Facts
}

func occasions() []occasion {
	of := func(e pipeline.Event) pipeline.Facts { return pipeline.Facts{Event: e} }
	return []occasion{
		{"push to main", of(pipeline.Event{Kind: pipeline.EventPush, Branch: "main", SHA: "0a1b", Message: "web: new page [deploy]", Changed: []string{"web/index.html", "README.md"}})},
		{"push to dev", of(pipeline.Event{Kind: pipeline.EventPush, Branch: "dev/x", Changed: []string{"docs/a.md"}})},
		{"pull request", of(pipeline.Event{Kind: pipeline.EventPullRequest, Branch: "dev/y", PullRequest: &pipeline.PullRequest{Number: 7, Base: "main", Draft: true}})},
		{"pull request from a fork", of(pipeline.Event{Kind: pipeline.EventPullRequest, Branch: "main", Changed: []string{"web/a.js"},
			PullRequest: &pipeline.PullRequest{Number: 8, Base: "main", Fork: true, Labels: []string{"hotfix"}}})},
		{"tag", of(pipeline.Event{Kind: pipeline.EventTag, Tag: "v1.2.0"})},
		{"schedule", of(pipeline.Event{Kind: pipeline.EventSchedule, Branch: "main", Cron: "0 3 * * *"})},
		{"by hand, with parameters", pipeline.Facts{Event: pipeline.Event{Kind: pipeline.EventManual, Branch: "main"},
			Params: map[string]any{"deploy": true, "target": "production", "replicas": "4", "regions": "eu, us"}}},
		{"upstream", of(pipeline.Event{Kind: pipeline.EventUpstream, Branch: "main", Upstream: &pipeline.Upstream{Project: "base", Run: 3, State: "succeeded"}})},
	}
}

// truths are conditions with what they come to on each occasion: y and n are known at planning, Y and N when the run gets there; with
// E it cannot be worked out then.
func truths() [][2]string {
	return [][2]string{
		{`true`, "yyyyyyyy"},
		{`false`, "nnnnnnnn"},
		{`branch == "main"`, "ynnynyyy"},
		{`branch != "main"`, "nyynynnn"},
		{`branch.startsWith("dev/")`, "nyynnnnn"},
		{`branch in ["main", "release"]`, "ynnynyyy"},
		{`branch.matches("^dev/[a-z]$")`, "nyynnnnn"},
		{`branch == ""`, "nnnnynnn"},
		{`tag == "v1.2.0"`, "nnnnynnn"},
		{`tag.startsWith("v")`, "nnnnynnn"},
		{`tag == ""`, "yyyynyyy"},
		{`ref == "refs/heads/main"`, "ynnynyyy"},
		{`ref.startsWith("refs/tags/")`, "nnnnynnn"},
		{`sha == "0a1b"`, "ynnnnnnn"},
		{`event.kind == "push"`, "yynnnnnn"},
		{`event.kind in ["pull_request", "tag"]`, "nnyyynnn"},
		{`event.kind != "manual"`, "yyyyyyny"},
		{`event.message.contains("[deploy]")`, "ynnnnnnn"},
		{`event.pull_request.fork`, "nnnynnnn"},
		{`event.kind == "pull_request" && !event.pull_request.fork`, "nnynnnnn"},
		{`"hotfix" in event.pull_request.labels`, "nnnynnnn"},
		{`event.pull_request.draft`, "nnynnnnn"},
		{`event.pull_request.number > 7`, "nnnynnnn"},
		{`event.pull_request.base == "main"`, "nnyynnnn"},
		{`event.cron == "0 3 * * *"`, "nnnnnynn"},
		{`event.upstream.project == "base" && event.upstream.state == "succeeded"`, "nnnnnnny"},
		{`event.changed.exists(p, p.endsWith(".js"))`, "nnnynnnn"},
		{`changed("web/**")`, "ynyyyyyy"}, // true where it is not known what has changed
		{`changed("*.md")`, "ynynyyyy"},
		{`changed("docs/**", "*.md")`, "yyynyyyy"},
		{`!changed("web/**")`, "nynnnnnn"},
		{`params.deploy`, "nnnnnnyn"},
		{`params.target == "production"`, "nnnnnnyn"},
		{`params.replicas >= 4`, "nnnnnnyn"},
		{`params.replicas == 2 || params.deploy`, "yyyyyyyy"},
		{`"us" in params.regions`, "nnnnnnyn"},
		{`branch == "main" ? params.deploy : true`, "nyynynyn"},
		{`env.MODE == "fast"`, "ynnynyyy"},
		{`outputs.build.v == "one"`, "YYYYYYYY"},
		{`outputs.build.n > 4`, "NNNNNNNN"},
		{`outputs.build.b && branch == "main"`, "YnnYnYYY"},
		{`outputs.build.w == "x"`, "EEEEEEEE"}, // declared, and never written
		{`outputs.build.?w.orValue("x") == "x"`, "YYYYYYYY"},
		{`outputs.build.w == "x" || tag != ""`, "EEEEyEEE"},
		{`outputs.build.w == "x" || outputs.build.b`, "YYYYYYYY"},
		{`status == "unstable"`, "YYYYYYYY"},
		{`status == "failed" || event.kind == "tag"`, "NNNNyNNN"},
		{`status != "unstable" && branch == "main"`, "NnnNnNNN"},
	}
}

// truthFile has each condition twice: at a task, and at the second step of another one.
func truthFile() string {
	var b strings.Builder
	b.WriteString(`
on: { push: {}, pull_request: {}, tag: {}, schedule: [{ cron: "0 3 * * *" }], upstream: {} }
params:
  deploy: false
  target: { type: choice, enum: [staging, production], default: staging }
  replicas: { type: integer, default: 2 }
  regions: { type: list }
env: { MODE: "${{ branch == 'main' ? 'fast' : 'slow' }}" }
stages:
  - stage: build
    outputs: { v: string, n: integer, b: boolean, w: string }
    steps:
      - sh: |-
          echo 'v=one' >> "$OTTO_OUTPUT"
          echo '{"n": 4, "b": true}' >> "$OTTO_OUTPUT"
          exit 3
  - parallel:
`)
	for i, row := range truths() {
		fmt.Fprintf(&b, "      - { task: task %d, when: %s, steps: [{ sh: ./a }] }\n", i, scalar(row[0]))
		fmt.Fprintf(&b, "      - { task: step %d, steps: [{ sh: ./a }, { sh: ./b, when: %s }] }\n", i, scalar(row[0]))
	}
	return b.String()
}

// What a condition comes to is known by hand for each event. Planning says the same, and the run does it.
func TestTruthOfConditions(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	c := &crew{engine: e, fataler: t, rand: rand.New(rand.NewPCG(1, 0)), runs: map[int64]*started{}, ctx: context.WithoutCancel(t.Context())}
	var runs []*started
	for _, o := range occasions() {
		plan, ds := pipeline.Compile(pipeline.File{Name: "Ottofile.yaml", Data: []byte(truthFile())}, o.facts)
		if plan == nil {
			t.Fatal(ds)
		}
		runs = append(runs, &started{plan: plan, project: "truth"})
	}
	c.work(slices.Clone(runs))
	for column, o := range occasions() {
		tasks, steps := map[string]db.Task{}, map[int64][]string{}
		for _, row := range must[[]db.TasksOfRunRow](t)(c.q.TasksOfRun(c.ctx, runs[column].id)) {
			tasks[row.Task.Name] = row.Task
		}
		for _, s := range must[[]db.Step](t)(c.q.StepsOfRun(c.ctx, runs[column].id)) {
			steps[s.TaskID] = append(steps[s.TaskID], s.State)
		}
		for i, row := range truths() {
			want := row[1][column : column+1]
			ran := plannedTruth(runs[column].plan, i)
			planned := [2]string{ran(0), ran(1)}
			task, step := tasks[fmt.Sprintf("task %d", i)], tasks[fmt.Sprintf("step %d", i)]
			did := [2]string{task.State, step.State + " " + strings.Join(steps[step.ID], " ")}
			if planned != truthWords()[want].planned || did != truthWords()[want].did {
				t.Errorf("%s on %s should be %s: planned %q, did %q", row[0], o.name, want, planned, did)
			}
			if task.State != "succeeded" && (task.Reason == nil || *task.Reason == "") {
				t.Errorf("%s on %s: the task is %s, and does not say why", row[0], o.name, task.State)
			}
		}
	}
	if n := len(slices.Collect(maps.Keys(c.runs))); n != len(runs) {
		t.Errorf("%d runs", n)
	}
}

// plannedTruth gives the verdicts of a condition in a plan: of the task, and of the step.
func plannedTruth(plan *pipeline.Plan, row int) func(int) string {
	return func(which int) string {
		t := plan.Stages[1].Tasks[2*row+which]
		when, omitted, field := t.When, t.Omitted, "/when"
		if which == 1 {
			when, omitted, field = t.Steps[1].When, t.Steps[1].Omitted, "/steps/1/when"
		}
		if (omitted != "") != (when.Verdict == pipeline.VerdictFalse) || later(t, field) != (when.Verdict == pipeline.VerdictLater) {
			return "contradicts itself"
		}
		return string(when.Verdict)
	}
}

type truthWord struct{ planned, did [2]string }

// truthWords says what a letter of the table means: the verdicts of planning, and what became of the task and of the other one's steps.
func truthWords() map[string]truthWord {
	ran := [2]string{"succeeded", "succeeded succeeded succeeded"}
	not := [2]string{"skipped", "succeeded succeeded skipped"}
	return map[string]truthWord{
		"y": {[2]string{"true", "true"}, ran},
		"n": {[2]string{"false", "false"}, not},
		"Y": {[2]string{"later", "later"}, ran},
		"N": {[2]string{"later", "later"}, not},
		"E": {[2]string{"later", "later"}, [2]string{"failed", "failed "}},
	}
}
