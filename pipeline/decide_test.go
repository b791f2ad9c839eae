package pipeline

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// exprOf draws an expression of a type: bool, int, text or list (of texts). Its leaves are names whose values planning knows,
// and outputs, which are known later; one file reads the same values from parameters.
func exprOf(t *rapid.T, typ string, depth int) string {
	if depth == 0 || rapid.IntRange(0, 4).Draw(t, "leaf") == 0 {
		return rapid.SampledFrom(exprLeaves()[typ]).Draw(t, "name")
	}
	sub := func(typ string) string { return exprOf(t, typ, depth-1) }
	forms := map[string][]func() string{
		"bool": {
			func() string { return "!(" + sub("bool") + ")" },
			func() string { return "(" + sub("bool") + " && " + sub("bool") + ")" },
			func() string { return sub("bool") + " || " + sub("bool") },
			func() string { return sub("int") + " < " + sub("int") },
			func() string { return sub("text") + " == " + sub("text") },
			func() string { return sub("text") + " in " + sub("list") },
			func() string { return "(" + sub("bool") + " ? " + sub("bool") + " : " + sub("bool") + ")" },
			func() string { return sub("list") + ".exists(x, x == " + sub("text") + ")" },
			func() string { return sub("list") + ".all(y, y in " + sub("list") + " || " + sub("bool") + ")" },
			func() string { return "(" + sub("text") + ").startsWith(" + sub("text") + ")" },
			func() string { return sub("list") + " == " + sub("list") },
		},
		"int": {
			func() string { return "(" + sub("int") + " + " + sub("int") + ")" },
			func() string { return "(" + sub("int") + " - (" + sub("int") + "))" },
			func() string { return "-(" + sub("int") + ")" },
			func() string { return "size(" + sub("list") + ")" },
			func() string { return "(" + sub("bool") + " ? " + sub("int") + " : " + sub("int") + ")" },
			func() string { return sub("list") + ".map(x, x + " + sub("text") + ").size()" },
		},
		"text": {
			func() string { return "(" + sub("text") + " + " + sub("text") + ")" },
			func() string { return "string(" + sub("int") + ")" },
			func() string { return "text(" + sub("bool") + ")" },
			func() string { return "(" + sub("bool") + " ? " + sub("text") + " : " + sub("text") + ")" },
		},
		"list": {
			func() string { return "[" + sub("text") + ", " + sub("text") + "]" },
			func() string { return sub("list") + ".filter(x, x != " + sub("text") + ")" },
			func() string { return sub("list") + ".map(z, z + " + sub("text") + ")" },
		},
	}
	return rapid.SampledFrom(forms[typ]).Draw(t, "form")()
}

// exprLeaves are names by type; LATE is where planning knows nothing in one file, and everything in the other.
func exprLeaves() map[string][]string {
	return map[string][]string{
		"bool": {"LATE.b", "params.b", `changed("web/**")`, "event.pull_request.fork", "true", `has(env.TEXT)`, `matrix.b`},
		"int":  {"LATE.i", "params.i", "-3", "matrix.n", "event.pull_request.number"},
		"text": {"LATE.s", "params.s", "branch", "\"q\\\"\\\\\\n}}é\"", "env.TEXT", "env.LATE", `matrix["s"]`, `matrix.?none.orValue("d")`, `env.?LATE.orValue("x")`},
		"list": {"LATE.l", "params.l", "event.changed", `["a", "b"]`, "event.pull_request.labels", "matrix.l"},
	}
}

// What planning leaves open comes to the same in the run as the whole expression would have, had everything been known.
func TestDecideIsPlanning(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom([]string{"bool", "int", "text"}).Draw(t, "type")
		expr := exprOf(t, typ, 3)
		texts := rapid.SampledFrom([]string{"", "a", "web/x", "a\"b\\", "${{ x }}", "é\n"})
		values := map[string]any{
			"b": rapid.Bool().Draw(t, "b"), "i": rapid.Int64Range(-5, 5).Draw(t, "i"), "s": texts.Draw(t, "s"),
			"l": rapid.SliceOfN(texts, 0, 3).Draw(t, "l"),
		}
		branch := texts.Draw(t, "branch")
		known := decideOnce(t, expr, branch, values, "params.known")
		later := decideOnce(t, expr, branch, values, "outputs.build")
		if known != later {
			t.Fatalf("%s\nat planning: %s\nin the run:  %s", expr, known, later)
		}
	})
}

// decideOnce compiles a file whose task has the expression as a variable, and decides what is left of it.
func decideOnce(t *rapid.T, expr, branch string, values map[string]any, late string) string {
	t.Helper()
	expr = strings.ReplaceAll(expr, "LATE.", late+".")
	if late == "params.known" {
		for _, name := range []string{"b", "i", "s", "l"} {
			expr = strings.ReplaceAll(expr, late+"."+name, "params.known_"+name)
		}
	}
	lateEnv := "${{ outputs.build.s }}!"
	if late == "params.known" {
		lateEnv = "${{ params.known_s }}!"
	}
	file := map[string]any{
		"params": map[string]any{
			"b": true, "i": 4, "s": "p'\"", "l": map[string]any{"type": "list", "default": []string{"a", "é"}},
			"known_b": map[string]any{"type": "boolean"}, "known_i": map[string]any{"type": "integer"}, "known_s": nil, "known_l": map[string]any{"type": "list"},
		},
		"stages": []any{
			map[string]any{"stage": "build", "outputs": map[string]string{"b": "boolean", "i": "integer", "s": "string", "l": "json"}, "steps": []any{map[string]any{"sh": "a"}}},
			map[string]any{
				"stage": "x", "matrix": []any{map[string]any{"b": false, "n": -2, "s": "m\"", "l": []string{"a", "b\""}}},
				"env":   map[string]any{"TEXT": "t ${{ branch }}", "LATE": lateEnv},
				"steps": []any{map[string]any{"sh": "a", "env": map[string]string{"V": "<${{ " + expr + " }}>", "W": "${{ " + expr + " }}"}}},
			},
		},
	}
	body, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	event := Event{Kind: EventPullRequest, Branch: branch, Changed: []string{"web/x", "a\""}, PullRequest: &PullRequest{Number: 7, Labels: []string{"a", "l"}}}
	plan, diags := Compile(File{Name: "Ottofile.yaml", Data: body}, Facts{Event: event, Params: map[string]any{
		"known_b": values["b"], "known_i": values["i"], "known_s": values["s"], "known_l": listOf2(values["l"].([]string)),
	}})
	if plan == nil {
		return "no plan: " + codes(diags)
	}
	task := plan.Stages[1].Tasks[0]
	decision, err := Decide(task, Known{Status: "succeeded", Outputs: map[string]map[string]any{"build": jsonOf(t, values)}})
	if err != nil {
		return "error"
	}
	out := ""
	for _, name := range []string{"V", "W"} {
		v, ok := task.Steps[0].Env[name]
		if !ok {
			v = fmt.Sprint(decision.Values["/steps/0/env/"+name])
		}
		out += fmt.Sprintf("%q ", v)
	}
	return out
}

func listOf2(list []string) []any {
	out := make([]any, 0, len(list))
	for _, item := range list {
		out = append(out, item)
	}
	return out
}

func codes(diags Diagnostics) string {
	var out []string
	for _, d := range diags {
		out = append(out, string(d.Code)+" "+d.Message)
	}
	return strings.Join(out, ", ")
}

// jsonOf gives values as a database does.
func jsonOf(t *rapid.T, v map[string]any) map[string]any {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
