package pipeline

import (
	"slices"
	"strings"
	"testing"
)

// The form of an expression tells little of what lists it will meet: one that has too much to do is given up, when a plan is made
// and when a run decides.
func TestEvaluationIsBounded(t *testing.T) {
	t.Parallel()
	many := slices.Repeat([]any{"a"}, 100_000)
	file := File{Name: "Ottofile.yaml", Data: []byte("params: { l: { type: list } }\nsteps: [{ sh: ./a, when: 'params.l.all(a, a + a != \"x\")' }]\n")}
	if plan, diags := Compile(file, Facts{Params: map[string]any{"l": []any{"a"}}}); plan == nil {
		t.Fatal(diags)
	}
	plan, diags := Compile(file, Facts{Params: map[string]any{"l": many}})
	if plan != nil || len(diags) != 1 || diags[0].Code != exprFailed || !strings.Contains(diags[0].Message, "takes too long to evaluate") {
		t.Errorf("plan %v, %s", plan != nil, diags)
	}
	task := Task{Later: []Later{{Field: "/when", Expr: `outputs.build.l.all(a, a + a != "x")`}}}
	decide := func(list []any) (Decision, error) {
		return Decide(task, Known{Outputs: map[string]map[string]any{"build": {"l": list}}})
	}
	if d, err := decide([]any{"a"}); err != nil || !d.Runs {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := decide(many); err == nil || !strings.Contains(err.Error(), "takes too long to evaluate") {
		t.Errorf("%+v, %v", d, err)
	}
}
