package show_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/pipeline/show"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*pipeline.Plan)
		want   []string
	}{
		"nothing":       {func(*pipeline.Plan) {}, nil},
		"origins_alone": {func(p *pipeline.Plan) { p.Origins = nil }, nil},
		"fields": {func(p *pipeline.Plan) {
			build := &p.Stages[0].Tasks[0]
			build.TimeoutMS, build.Env["CGO_ENABLED"], build.Env["NEW"] = 600_000, "1", ""
			build.Requires = map[string]any{"os": "linux"}
			build.Retries.Exit = []int{75, 76}
		}, []string{
			"task build env.CGO_ENABLED: 0 → 1",
			`task build env.NEW: nothing → ""`,
			"task build requires.cores: 2 → nothing",
			"task build requires.gpu: true → nothing",
			"task build retries.exit: [75] → [75,76]",
			"task build timeout: 1h → 10m",
		}},
		"added_and_removed": {func(p *pipeline.Plan) {
			p.Stages[1].Tasks = append(p.Stages[1].Tasks[:2], task("security", "./scan"))
			p.Stages = append(p.Stages[:5:5], pipeline.Stage{Name: "new", Tasks: []pipeline.Task{}})
		}, []string{
			"stage new is new", "stage clean up is gone", "stage empty is gone", "task security is new", "task lint is gone", "task clean up is gone",
		}},
		"moved": {func(p *pipeline.Plan) {
			p.Stages[0].Tasks = append(p.Stages[0].Tasks, p.Stages[1].Tasks[2])
			p.Stages[1].Tasks = p.Stages[1].Tasks[:2]
			p.Stages[2], p.Stages[3] = p.Stages[3], p.Stages[2]
		}, []string{"stage night is moved from place 4 to 3", "task lint is moved from stage checks to stage build"}},
		"renamed": {func(p *pipeline.Plan) { p.Stages[1].Tasks[2].Name = "style" }, []string{"task lint is now called style"}},
		"reachable": {func(p *pipeline.Plan) {
			p.Stages[3].When = when(`event.kind == "schedule"`, pipeline.VerdictTrue, map[string]any{"event.kind": "schedule"})
			p.Stages[3].Tasks[0].Omitted = ""
			lint := &p.Stages[1].Tasks[2]
			lint.When, lint.Omitted = when(`changed("**/*.go")`, pipeline.VerdictFalse, map[string]any{`changed("**/*.go")`: false}), "when"
			build := &p.Stages[0].Tasks[0]
			build.Steps[1].When.Verdict, build.Steps[1].Omitted = pipeline.VerdictTrue, ""
			build.Steps[1].When.Saw = map[string]any{"branch": "main"}
			p.Inputs.Event.Branch = "main"
		}, []string{
			"plan event.branch: x → main",
			`task build, step ./bin/web --version did not run, and now runs: branch == "main" is true: branch is "main"`,
			`task lint ran, and now does not run: changed("**/*.go") is false`,
			`task soak <&> "quoted" 漢字 did not run, and now runs`,
			"task night 2 did not run, and now runs",
		}},
		"conditions": {func(p *pipeline.Plan) {
			p.Stages[1].Tasks[2].When = nil
			p.Stages[2].Tasks[0].Later[1].Expr = "outputs.build.unread"
		}, []string{
			`task lint when: "changed(\"**/*.go\")" → nothing`,
			`task deploy env.VERSION: "${{ outputs[\"build\"].version }}" → "${{ outputs.build.unread }}"`,
		}},
		"steps": {func(p *pipeline.Plan) {
			build := &p.Stages[0].Tasks[0]
			first := build.Steps[0]
			build.Steps = []pipeline.Step{build.Steps[1], steps("new")[0], first}
			build.Steps[2].ExitCodes = exits("2", "failed", "75", "unstable")
			deploy := &p.Stages[2].Tasks[0]
			deploy.Steps[0].Sh = "one\ntwo\n"
		}, []string{
			"task build, step ./bin/web --version is moved from place 2 to 1",
			"task build, step new is new",
			"task build, step go build -o bin/web ./cmd/web exit_codes.75: nothing → unstable",
			"task deploy, step ./deploy <\"$VERSION\" & \ufffd[31m" + ` sh: "./deploy <\"$VERSION\" & \x1b[31m" → 2 lines`,
		}},
		"trigger": {func(p *pipeline.Plan) {
			p.Trigger = pipeline.Trigger{Filter: "on.push.branches", Reason: "no"}
		}, []string{
			"plan trigger.filter: on.push → on.push.branches", `plan trigger.reason: "it has no filters" → no`, "plan trigger.starts: true → false",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			after := rich()
			row.change(after)
			var got []string
			for _, e := range show.Diff(rich(), after) {
				got = append(got, show.EffectText(e))
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLinesDiff(t *testing.T) {
	t.Parallel()
	got := strings.Join(show.LinesDiff("a\nb\nc\n", "a\nx\ny\nc"), "|")
	if got != "- b|+ x|+ y" {
		t.Error(got)
	}
	if got := show.LinesDiff("a\na\n", "a\n"); len(got) != 1 || got[0] != "- a" {
		t.Error(got)
	}
}
