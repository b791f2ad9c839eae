package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// Known is what a run knows when one of its tasks would start.
type Known struct {
	Outputs map[string]map[string]any // of tasks that are final, by their names; values as JSON has them
	Status  string                    // of the run so far: succeeded, unstable, failed, …
}

// Decision is what becomes of what a plan left open about a task.
type Decision struct {
	Runs   bool
	Reason string         // why it does not run
	Values map[string]any // by Later.Field: a boolean for conditions of steps, a string for variables
}

// Decide works out what the plan left open about a task, from exactly the residuals that stand in it. An error names the
// field, and what was wrong with its values.
func Decide(task Task, known Known) (Decision, error) {
	x, err := newRunExprs()
	if err != nil {
		return Decision{}, err
	}
	outputs := map[string]any{}
	for name, values := range known.Outputs {
		outputs[name] = whole(values)
	}
	s := &scope{known: map[string]any{nameOutputs: outputs, nameStatus: known.Status}}
	out := Decision{Runs: true, Values: map[string]any{}}
	for _, later := range task.Later {
		if step, _, ok := strings.Cut(later.Field, "/env/"); ok && out.Values[step+"/when"] == false {
			continue // the step does not run
		}
		a, err := x.evalText(later.Expr, s)
		if err != nil {
			return Decision{}, later.wrong(err)
		}
		isCondition := later.Field == "/when" || strings.HasSuffix(later.Field, "/when") && !strings.Contains(later.Field, "/env/")
		runs, isBool := a.value.(bool)
		switch text, err := plainText(a.value); {
		case isCondition && !isBool:
			return Decision{}, later.wrong(fmt.Errorf("it must be true or false, and is %s", kindOf(a.value)))
		case later.Field == "/when" && !runs && task.AddedBy != "":
			return Decision{Reason: "not added by " + task.AddedBy}, nil
		case later.Field == "/when" && !runs:
			c := Condition{Expr: later.Expr, Verdict: VerdictFalse, Saw: a.saw}
			return Decision{Reason: c.omits()}, nil
		case later.Field == "/when":
		case isCondition:
			out.Values[later.Field] = runs
		case err != nil:
			return Decision{}, later.wrong(err)
		default:
			out.Values[later.Field] = text
		}
	}
	return out, nil
}

// wrong says where and in which expression something is wrong: whoever reads it has the run before them, and not the plan.
func (l Later) wrong(err error) error {
	return fmt.Errorf("%s: %s: %w", strings.TrimPrefix(l.Field, "/"), l.Expr, err)
}

// evalText compiles and evaluates an expression of a plan.
func (x *exprs) evalText(text string, s *scope) (answer, error) {
	c := x.compile(text)
	if len(c.problems) > 0 {
		return answer{}, fmt.Errorf("%s", c.problems[0].message)
	}
	return x.eval(c, s)
}

// whole makes integers of numbers that are whole: JSON has one kind of number, and expressions compare by kind.
func whole(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := maps.Clone(v)
		for key, inner := range v {
			out[key] = whole(inner)
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, inner := range v {
			out = append(out, whole(inner))
		}
		return out
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}
