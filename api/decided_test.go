package api

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ottoci/otto/client"
)

func TestSettle(t *testing.T) {
	t.Parallel()
	plan := json.RawMessage(`{"steps": [{"name": "0"}, {"name": "1", "when": {"expr": "outputs.a.b ==\n  true", "verdict": "later"}}, {}]}`)
	spec := func() client.TaskSpec {
		return client.TaskSpec{Name: "x", Env: map[string]string{"A": "old", "B": "kept"}, Steps: []client.StepSpec{
			{Name: "0"}, {Name: "1", Env: map[string]string{"C": "old"}}, {Name: "2", Omitted: "by the plan"},
		}}
	}
	for name, c := range map[string]struct {
		decided string
		change  func(*client.TaskSpec)
	}{
		"nothing":        {``, func(*client.TaskSpec) {}},
		"null":           {`null`, func(*client.TaskSpec) {}},
		"that_it_runs":   {`{"/when": true}`, func(*client.TaskSpec) {}},
		"env":            {`{"/env/A": "new", "/env/a~1b~0c~01": "odd"}`, func(s *client.TaskSpec) { s.Env["A"], s.Env["a/b~c~1"] = "new", "odd" }},
		"env_of_a_step":  {`{"/steps/0/env/X": "x", "/steps/1/env/C": ""}`, func(s *client.TaskSpec) { s.Steps[0].Env = map[string]string{"X": "x"}; s.Steps[1].Env["C"] = "" }},
		"steps":          {`{"/steps/0/when": true, "/steps/1/when": false}`, func(s *client.TaskSpec) { s.Steps[1].Omitted = "outputs.a.b == true is false" }},
		"step_without":   {`{"/steps/0/when": false}`, func(s *client.TaskSpec) { s.Steps[0].Omitted = "its condition is false" }},
		"omitted_before": {`{"/steps/2/when": false}`, func(*client.TaskSpec) {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, want := spec(), spec()
			c.change(&want)
			if err := settle(&got, plan, json.RawMessage(c.decided)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for name, decided := range map[string]string{
		"no_object":         `[]`,
		"unknown_field":     `{"/image": "x"}`,
		"no_such_step":      `{"/steps/3/when": false}`,
		"no_step":           `{"/steps/-/when": false}`,
		"too_deep":          `{"/steps/0/env/A/B": "x"}`,
		"value_of_no_text":  `{"/env/A": 1}`,
		"condition_of_text": `{"/steps/0/when": "false"}`,
	} {
		t.Run("refuses_"+name, func(t *testing.T) {
			t.Parallel()
			got := spec()
			if err := settle(&got, plan, json.RawMessage(decided)); err == nil {
				t.Errorf("it became %+v", got)
			}
		})
	}
}
