package show_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ottoci/otto/pipeline"
)

var update = flag.Bool("update", false, "write testdata anew")

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func steps(scripts ...string) []pipeline.Step {
	var list []pipeline.Step
	for _, sh := range scripts {
		list = append(list, pipeline.Step{Name: sh, Sh: sh, ExitCodes: exits("2", "failed")})
	}
	return list
}

func exits(more ...string) map[string]string {
	codes := map[string]string{"0": "succeeded", "1": "failed", "2": "aborted", "3": "unstable"}
	for i := 0; i+1 < len(more); i += 2 {
		codes[more[i]] = more[i+1]
	}
	return codes
}

func task(name string, scripts ...string) pipeline.Task {
	return pipeline.Task{Name: name, TimeoutMS: 3_600_000, OnLost: pipeline.OnLostRetry, Env: map[string]string{"CGO_ENABLED": "0"}, Steps: steps(scripts...)}
}

func when(expr string, verdict pipeline.Verdict, saw map[string]any) *pipeline.Condition {
	return &pipeline.Condition{Expr: expr, Verdict: verdict, Saw: saw}
}

// rich is a plan that has everything once.
func rich() *pipeline.Plan {
	build := task("build", "go build -o bin/web ./cmd/web", "./bin/web --version")
	build.Image, build.Requires = "golang:1.26", map[string]any{"os": "linux", "cores": 2, "gpu": true}
	build.Retries = &pipeline.Retries{Limit: 2, On: []string{"failed", "lost"}, Exit: []int{75}, DelayMS: 30_000}
	build.Outputs = map[string]string{"version": "string", "unread": "json"}
	build.Steps[1].When = when(`branch == "main"`, pipeline.VerdictFalse, map[string]any{"branch": "x"})
	build.Steps[1].Omitted = "when is false"
	build.Steps[1].Dir, build.Steps[1].TimeoutMS = "web", 61_000

	unit := func(version string) pipeline.Task {
		t := task("unit ("+version+")", "go test ./...")
		t.Base, t.Matrix, t.Image = "unit", map[string]any{"go": version}, "golang:"+version
		return t
	}
	lint := task("lint", "golangci-lint run")
	lint.AllowFailure, lint.Needs = true, []string{}
	lint.When = when(`changed("**/*.go")`, pipeline.VerdictTrue, map[string]any{`changed("**/*.go")`: true})

	deploy := task("deploy", "./deploy <\"$VERSION\" & \x1b[31m")
	deploy.Environment, deploy.OnLost, deploy.Needs = "production", pipeline.OnLostFail, []string{"build", "unit (1.26)"}
	deploy.When = &pipeline.Condition{
		Expr: `outputs.build.version != "" && params.environment == "production"`, Verdict: pipeline.VerdictLater,
		Saw: map[string]any{"params.environment": "production"}, Residual: `outputs.build.version != ""`,
	}
	deploy.Later = []pipeline.Later{
		{Field: "/when", Expr: `outputs.build.version != ""`},
		{Field: "/env/VERSION", Expr: `outputs["build"].version`},
		{Field: "/steps/0/env/CHANNEL", Expr: `outputs.build.?version.orValue("none")`},
	}
	deploy.Concurrency = &pipeline.Concurrency{Group: "deploy-production", Limit: 1, OnConflict: pipeline.ConflictAbortOlder}
	deploy.MayAdd = &pipeline.MayAdd{Template: "smoke", Max: 5}
	night := task("soak <&> \"quoted\" 漢字", "./soak")
	night.Omitted = "its stage does not run"

	return &pipeline.Plan{
		Version: pipeline.PlanVersion, Name: "web",
		Inputs: &pipeline.Inputs{
			Event:  pipeline.Event{Kind: pipeline.EventPush, Branch: "x", SHA: "3f2a1c9d00112233", Changed: []string{"a.go", "b.md"}},
			Params: map[string]any{"environment": "production", "fast": true},
		},
		Trigger: pipeline.Trigger{Starts: true, Filter: "on.push", Reason: "it has no filters"},
		Stages: []pipeline.Stage{
			{Name: "build", Mode: pipeline.Linear, Tasks: []pipeline.Task{build}},
			{Name: "checks", Mode: pipeline.Fanout, Tasks: []pipeline.Task{unit("1.25"), unit("1.26"), lint}},
			{Name: "deploy", Mode: pipeline.Linear, Tasks: []pipeline.Task{deploy}},
			{Name: "night", Mode: pipeline.Parallel, When: when(`event.kind == "schedule"`, pipeline.VerdictFalse, map[string]any{"event.kind": "push"}), Tasks: []pipeline.Task{night, task("night 2", "true")}},
			{Name: "tell", Mode: pipeline.Linear, OnFailure: true, Tasks: []pipeline.Task{task("tell", "./tell")}},
			{Name: "clean up", Mode: pipeline.Linear, Always: true, Tasks: []pipeline.Task{task("clean up", "./clean")}},
			{Name: "empty", Mode: pipeline.Parallel, Tasks: []pipeline.Task{}},
		},
		Origins: map[string]pipeline.Origin{
			"/stages/0/tasks/0/timeout_ms":       {Kind: "default", Note: "a task may take 1h unless it says otherwise"},
			"/stages/0/tasks/0/env/CGO_ENABLED":  {Kind: "file", File: "Ottofile.yaml", Line: 2, Column: 22},
			"/stages/0/tasks/0/retries/limit":    {Kind: "file", File: "Ottofile.yaml", Line: 9, Column: 3},
			"/stages/0/tasks/0/retries/delay_ms": {Kind: "file", File: "Ottofile.yaml", Line: 10, Column: 3},
			"/stages/0/tasks/0/steps/0/sh":       {Kind: "file", File: "Ottofile.yaml", Line: 11, Column: 3},
			"/stages/0/tasks/0/steps/1/sh":       {Kind: "file", File: "Ottofile.yaml", Line: 12, Column: 3},
			"/stages/0/tasks/0/steps/1/dir":      {Kind: "file", File: "Ottofile.yaml", Line: 13, Column: 3},
			"/stages/1/tasks/0/image":            {Kind: "file", File: "Ottofile.yaml", Line: 20, Column: 3},
			"/stages/1/tasks/1/image":            {Kind: "file", File: "Ottofile.yaml", Line: 20, Column: 3},
			"/stages/1/mode":                     {Kind: "file", File: "Ottofile.yaml", Line: 19, Column: 3},
			"/stages/2/tasks/0/when/expr":        {Kind: "file", File: "Ottofile.yaml", Line: 30, Column: 3},
		},
	}
}

// large is a plan of so many tasks, ten to a stage.
func large(tasks int) *pipeline.Plan {
	p := &pipeline.Plan{Version: pipeline.PlanVersion, Name: "large", Origins: map[string]pipeline.Origin{}}
	for i := range tasks {
		if i%10 == 0 {
			p.Stages = append(p.Stages, pipeline.Stage{Name: fmt.Sprintf("stage %d", i/10), Mode: pipeline.Parallel})
		}
		s := &p.Stages[len(p.Stages)-1]
		t := task(fmt.Sprintf("task %d", i), "echo one", "echo two")
		if i > 0 {
			t.Needs = []string{fmt.Sprintf("task %d", i-1)}
		}
		s.Tasks = append(s.Tasks, t)
		p.Origins[fmt.Sprintf("/stages/%d/tasks/%d/timeout_ms", len(p.Stages)-1, i%10)] = pipeline.Origin{Kind: "default"}
	}
	return p
}
