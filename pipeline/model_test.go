package pipeline

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const postedModel = `{
  "uuid": "0aa80ba1-4a4f-4a4f-8a4f-000000000001",
  "batches": [
    {"mode": "Linear", "contexts": [{
      "uuid": "0aa80ba1-4a4f-4a4f-8a4f-000000000002", "properties": {"name": "Build"}, "environment": null,
      "steps": [
        {"uuid": "0aa80ba1-4a4f-4a4f-8a4f-000000000003", "context": "0aa80ba1-4a4f-4a4f-8a4f-000000000002", "symbol": "sh", "parameters": ["ls\n"]},
        {"uuid": "0aa80ba1-4a4f-4a4f-8a4f-000000000004", "context": "0aa80ba1-4a4f-4a4f-8a4f-000000000002", "symbol": "echo", "parameters": ["it's '\\'' 😀"]},
        {"uuid": "0aa80ba1-4a4f-4a4f-8a4f-000000000005", "context": "0aa80ba1-4a4f-4a4f-8a4f-000000000002", "symbol": "sh", "parameters": {"command": "printf '%s\\n' 'x'"}}
      ]
    }]},
    {"mode": "Parallel", "contexts": [
      {"uuid": "0aa80ba1-4a4f-4a4f-8a4f-000000000006", "properties": {"name": "Test"}, "environment": {"A": "1"},
       "steps": [{"context": "0aa80ba1-4a4f-4a4f-8a4f-000000000006", "symbol": "echo", "parameters": {"message": ""}}]},
      {"properties": {}, "environment": null,
       "steps": [{"context": "0aa80ba1-4a4f-4a4f-8a4f-000000000001", "symbol": "sh", "parameters": {"script": "ls"}}]}
    ]},
    {"mode": "Fanout", "contexts": []}
  ]
}`

func TestModelReadsBackTheSame(t *testing.T) {
	t.Parallel()
	plan, diags := FromModel([]byte(postedModel))
	if plan == nil || len(diags) > 0 {
		t.Fatal(diags)
	}
	var posted Model
	if err := json.Unmarshal([]byte(postedModel), &posted); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(posted, plan.Model()); diff != "" {
		t.Errorf("the model changed on its way (-posted +read):\n%s", diff)
	}
	// Through its JSON, as the database keeps it, too.
	body, _, err := plan.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var stored Plan
	if err := json.Unmarshal(body, &stored); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(posted, stored.Model()); diff != "" {
		t.Errorf("the stored model differs:\n%s", diff)
	}
	written, err := json.Marshal(plan.Model())
	if err != nil {
		t.Fatal(err)
	}
	again, diags := FromModel(written)
	if again == nil {
		t.Fatal(diags)
	}
	if diff := cmp.Diff(plan.Stages, again.Stages); diff != "" {
		t.Errorf("the written model gives another plan:\n%s", diff)
	}
}

func TestModelOfAnOttofile(t *testing.T) {
	t.Parallel()
	plan, diags := Compile(File{Name: "Ottofile.yaml", Data: []byte("stages: [{stage: a, steps: [{sh: \"printf '%s\\\\n' 'x'\"}]}]")}, Facts{})
	if plan == nil {
		t.Fatal(diags)
	}
	want := Model{Batches: []Batch{{Mode: "Linear", Contexts: []Context{{
		Properties: map[string]string{"name": "a"},
		Steps:      []ModelStep{{Symbol: "sh", Parameters: Parameters{Keyword: map[string]string{"script": `printf '%s\n' 'x'`}}}},
	}}}}}
	if diff := cmp.Diff(want, plan.Model()); diff != "" {
		t.Error(diff)
	}
}

// Whatever a message holds, the shell prints it and does nothing else; and it reads back as it was.
func TestEchoIsNeverCode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		message := rapid.StringOf(rapid.RuneFrom([]rune("a'\"\\$(`)-;&|\n %é{}*~!#"))).Draw(t, "message")
		parameters, err := json.Marshal([]string{message})
		if err != nil {
			t.Fatal(err)
		}
		plan, diags := FromModel(fmt.Appendf(nil, `{"batches": [{"contexts": [{"steps": [{"symbol": "echo", "parameters": %s}]}]}]}`, parameters))
		if plan == nil {
			t.Fatal(diags)
		}
		if got := plan.Model().Batches[0].Contexts[0].Steps[0].Parameters.Positional[0]; got != message {
			t.Fatalf("%q reads back as %q", message, got)
		}
		out, err := exec.Command("sh", "-c", plan.Stages[0].Tasks[0].Steps[0].Sh).Output()
		if err != nil || string(out) != message+"\n" {
			t.Fatalf("%q printed %q, %v", message, out, err)
		}
	})
}

func TestModelBounds(t *testing.T) {
	t.Parallel()
	step := `{"symbol": "sh", "parameters": ["x"]}`
	for name, c := range map[string]struct {
		text string
		want Code
	}{
		"too_large":  {`{"batches": [` + strings.Repeat(" ", maxFileBytes) + `]}`, fileTooLarge},
		"too_deep":   {`{"batches": ` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, nestedTooDeep},
		"many_steps": {`{"batches": [{"contexts": [{"steps": [` + strings.Repeat(step+",", maxSteps) + step + `]}]}]}`, tooMuch},
		"many_nulls": {`{"batches": [` + strings.Repeat("0,", maxJSONNodes) + `0]}`, tooMuch},
		"not_a_map":  {`[]`, badModel},
		"no_batches": {`{}`, badModel},
		"twice":      {`{"batches": [], "batches": []}`, duplicateKey},
		"nul":        {`{"batches": [{"contexts": [{"steps": [{"symbol": "sh", "parameters": ["\u0000"]}]}]}]}`, controlChar},
		"broken":     {`{"batches": [}`, badYAML},
		"empty":      {``, emptyFile},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan, diags := FromModel([]byte(c.text))
			if plan != nil || len(diags) == 0 || diags[0].Code != c.want {
				t.Errorf("plan %v, and not %s:\n%s", plan != nil, c.want, diags)
			}
		})
	}
}
