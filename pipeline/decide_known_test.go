package pipeline

import "testing"

// What an output of type json holds becomes JSON in a variable: which form it has, planning could not know.
func TestDecideWritesJSON(t *testing.T) {
	t.Parallel()
	known := Known{Outputs: map[string]map[string]any{"build": {"list": []any{"a", 1.0}, "object": map[string]any{"b": true, "a": 2.5}, "text": "x"}}}
	task := Task{Later: []Later{
		{Field: "/env/LIST", Expr: `text(outputs.build.list)`},
		{Field: "/env/OBJECT", Expr: `"is " + text(outputs.build.object)`},
		{Field: "/env/TEXT", Expr: `text(outputs.build.text)`},
	}}
	got, err := Decide(task, known)
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{"/env/LIST": `["a",1]`, "/env/OBJECT": `is {"a":2.5,"b":true}`, "/env/TEXT": "x"} {
		if got.Values[field] != want {
			t.Errorf("%s is %v, want %s", field, got.Values[field], want)
		}
	}
}
