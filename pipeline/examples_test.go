package pipeline

import (
	"slices"
	"strings"
	"testing"
)

// What the examples say they do is what becomes of them.
func TestExamplesDoAsTheySay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		example string
		facts   Facts
		runs    []string // tasks, with those that a run decides
		starts  bool
	}{
		"matrix": {"matrix", Facts{}, []string{"unit (1.25, linux)", "unit (1.26, linux)", "unit (1.26, mac)", "unit (1.27, linux)", "lint",
			"integration (postgres)", "integration (mysql)"}, true},
		"containers": {"containers", Facts{}, []string{"test", "vet", "pages"}, true},
		"outputs":    {"outputs", Facts{}, []string{"version", "package", "notes", "publish", "blame"}, true},
		"staging":    {"deploy", Facts{Event: Event{Kind: EventPush, Branch: "x"}}, []string{"build", "deploy", "preview"}, true},
		"production": {"deploy", Facts{Event: Event{Kind: EventManual, Branch: "main"}, Params: map[string]any{"target": "production", "replicas": "4"}},
			[]string{"build", "deploy"}, true},
		"protected":    {"deploy", Facts{Event: Event{Kind: EventManual, Branch: "x"}, Params: map[string]any{"target": "production"}}, []string{"build"}, true},
		"push":         {"triggers", Facts{Event: Event{Kind: EventPush, Branch: "main", Changed: []string{"web/a.ts"}}}, []string{"web"}, true},
		"push_of_docs": {"triggers", Facts{Event: Event{Kind: EventPush, Branch: "main", Changed: []string{"web/a.md"}}}, nil, false},
		"pull_request": {"triggers", Facts{Event: Event{Kind: EventPullRequest, Branch: "x", PullRequest: &PullRequest{Base: "main", Labels: []string{"slow tests"}}}},
			[]string{"web", "api", "slow tests"}, true},
		"tag":    {"triggers", Facts{Event: Event{Kind: EventTag, Tag: "v1"}}, []string{"web", "api", "release"}, true},
		"weekly": {"triggers", Facts{Event: Event{Kind: EventSchedule, Branch: "main", Cron: "0 5 * * 1"}}, []string{"web", "api", "slow tests", "weekly report"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := "../examples/" + c.example + "/Ottofile.yaml"
			plan, diags := Compile(File{Name: path, Data: readFile(t, path)}, c.facts)
			if plan == nil || len(diags) > 0 {
				t.Fatalf("%s", diags)
			}
			var runs []string
			for _, s := range plan.Stages {
				for _, task := range s.Tasks {
					if task.Omitted == "" {
						runs = append(runs, task.Name)
					}
				}
			}
			if plan.Trigger.Starts != c.starts || c.starts && !slices.Equal(runs, c.runs) {
				t.Errorf("starts %v (%s), and runs %s", plan.Trigger.Starts, plan.Trigger.Reason, strings.Join(runs, ", "))
			}
		})
	}
}
