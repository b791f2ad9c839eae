package pipeline

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzExpr puts any text where expressions are worked out: nothing panics, text outside of ${{ }} stays, a condition has a verdict,
// and what is left for the run compiles there.
func FuzzExpr(f *testing.F) {
	for _, seed := range []string{
		"${{ branch }}", "a ${{ 1 + 1 }} b", "${{ {'a': {'b': 1}} }}", "${{ '}}' }}}}", "${{ outputs.b.v }}-${{ env.A }}", "branch == 'x'", "${{", "${{ r'\\' }}",
		"outputs.b.v in params.l", "has(outputs.b) ? env.?A.orValue('x') : changed('a/{b,c}')", "${{ [1].map(x, x) }}", "${{ // }}\n1 }}", "outputs.b.l.exists(x, has(env.L) && x == env.L)",
		"text(1.5) + matrix.n", "hash('a')", "${{ \"\"\"a\"b\"\"\" }}", "-9223372036854775808 < outputs.b.v", "1.0/0.0 > outputs.b.v", "b'a' == outputs.b.v", "outputs.b.v ? 1u : 2u",
		"duration('1h') > outputs.b.v", "[1, 2].exists(i, v, v == 1)", "cel.bind(x, 1, x)", "outputs.b.v == otto__value__0",
	} {
		f.Add(seed, "main")
	}
	f.Fuzz(func(t *testing.T, text, branch string) {
		body, err := json.Marshal(map[string]any{
			"params": map[string]any{"l": map[string]any{"type": "list", "default": []string{"a", "b"}}},
			"stages": []any{
				map[string]any{"stage": "b", "outputs": map[string]string{"v": "string", "l": "json"}, "steps": []any{map[string]any{"sh": "a"}}},
				map[string]any{"stage": "c", "matrix": map[string]any{"n": []any{1}}, "env": map[string]any{"A": "a", "L": "${{ outputs.b.v }}"}, "steps": []any{
					map[string]any{"sh": "a", "env": map[string]string{"V": text}}, map[string]any{"sh": "a", "when": text}}},
				map[string]any{"stage": "d", "steps": []any{map[string]any{"sh": "a", "env": map[string]string{"V": text}}}},
			},
		})
		if err != nil {
			t.Fatal(err) // texts always become JSON
		}
		plan, diags := Compile(File{Name: "Ottofile.yaml", Data: body}, Facts{Event: Event{Kind: EventPush, Branch: branch, Changed: []string{branch}}})
		if (plan == nil) != diags.HasErrors() {
			t.Fatalf("plan %v, but diagnostics:\n%s", plan != nil, diags)
		}
		if plan == nil {
			return
		}
		if v, ok := plan.Stages[2].Tasks[0].Steps[0].Env["V"]; ok && !strings.Contains(text, "${{") && v != text {
			t.Fatalf("%q became %q", text, v)
		}
		run, err := newRunExprs()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range plan.Stages {
			for _, task := range s.Tasks {
				for _, l := range task.Later {
					if c := run.compile(l.Expr); len(c.problems) > 0 {
						t.Fatalf("%s: %s does not compile: %v", l.Field, l.Expr, c.problems)
					}
				}
				_, _ = Decide(task, Known{Status: "succeeded", Outputs: map[string]map[string]any{"b": {"v": "x", "l": []any{"a"}}}})
			}
		}
	})
}
