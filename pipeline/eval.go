package pipeline

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// scope is what expressions may read at one place of the file.
type scope struct {
	known    map[string]any    // by name, see exprNames
	lateEnv  map[string]string // variables that are decided later, with their residuals
	lateRoot []string          // names of which nothing is known yet
}

// answer is what an expression comes to.
type answer struct {
	value    any            // a string, bool, int64, float64, []any or map[string]any; nil if it is not known yet
	saw      map[string]any // the values that it looked at
	residual string         // what is left of it, in CEL, if it is not known yet
}

// later tells whether the value is not known yet.
func (a answer) later() bool { return a.residual != "" }

// eval evaluates an expression that has no problems. One that is the same everywhere is evaluated once: files that programs
// write have one condition a thousand times. An error is about the values, and says which.
func (x *exprs) eval(c *compiledExpr, s *scope) (answer, error) {
	if !c.sameEverywhere {
		return x.evalHere(c, s)
	}
	if c.answered == nil {
		a, err := x.evalHere(c, s)
		if err != nil {
			return a, err
		}
		c.answered = &a
	}
	a := *c.answered
	a.saw = maps.Clone(a.saw)
	return a, nil
}

func (x *exprs) evalHere(c *compiledExpr, s *scope) (answer, error) {
	var unknown []*cel.AttributePatternType
	for _, name := range s.lateRoot {
		unknown = append(unknown, cel.AttributePattern(name))
	}
	for name := range s.lateEnv {
		unknown = append(unknown, cel.AttributePattern(nameEnv).QualString(name))
	}
	vars, err := cel.PartialVars(s.known, unknown...)
	if err != nil {
		return answer{}, err
	}
	if x.spent > maxFileSteps {
		return answer{}, errors.New("the expressions of the file take too long together")
	}
	out, details, err := c.program.Eval(vars)
	if cost := details.ActualCost(); cost != nil {
		x.spent += *cost
	}
	if err != nil {
		return answer{}, evalError(err)
	}
	a := answer{saw: saw(c, details)}
	if types.IsUnknown(out) {
		a.residual, err = x.residual(c, details, s)
		return a, err
	}
	a.value, err = native(out)
	return a, err
}

// evalError says what the library says, without its words for places.
func evalError(err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "cost limit exceeded"):
		return errors.New("it takes too long to evaluate")
	case strings.HasPrefix(text, "no such key: "):
		return fmt.Errorf("there is no %q", strings.TrimPrefix(text, "no such key: "))
	}
	return errors.New(text)
}

// saw gives the values of what the evaluation looked at; what it did not need is not among them.
func saw(c *compiledExpr, details *cel.EvalDetails) map[string]any {
	out := map[string]any{}
	for _, m := range c.mentions {
		v, ok := details.State().Value(m.expr.ID())
		if !ok || types.IsUnknownOrError(v) {
			continue
		}
		if value, err := native(v); err == nil {
			out[m.text] = brief(value)
		}
	}
	return out
}

// briefItems is how much of a list is kept of what a condition saw.
const briefItems = 20

// brief cuts a value to what a person reads.
func brief(v any) any {
	switch v := v.(type) {
	case string:
		return shorten(v, exprTextSize)
	case []any:
		if len(v) > briefItems {
			return append(v[:briefItems:briefItems], fmt.Sprintf("… and %d more", len(v)-briefItems))
		}
	}
	return v
}

// native gives a value of CEL as a plan writes it.
func native(v ref.Val) (any, error) {
	switch v := v.(type) {
	case types.String:
		return string(v), nil
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		return int64(v), nil //nolint:gosec // beyond 2^63 no pipeline counts
	case types.Double:
		return float64(v), nil
	case types.Null:
		return nil, nil
	}
	switch v := v.Value().(type) {
	case []string:
		out := make([]any, 0, len(v))
		for _, item := range v {
			out = append(out, item)
		}
		return out, nil
	case []any:
		return v, nil
	case []ref.Val:
		return nativeList(v)
	case map[string]any:
		return v, nil
	case map[string]string:
		out := make(map[string]any, len(v))
		for key, item := range v {
			out[key] = item
		}
		return out, nil
	case map[ref.Val]ref.Val:
		return nativeMap(v)
	}
	return nil, fmt.Errorf("a value of type %s cannot be used here", v.Type().TypeName())
}

func nativeList(items []ref.Val) (any, error) {
	out := make([]any, 0, len(items))
	for _, item := range items {
		v, err := native(item)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func nativeMap(entries map[ref.Val]ref.Val) (any, error) {
	out := make(map[string]any, len(entries))
	for key, item := range entries {
		v, err := native(item)
		if err != nil {
			return nil, err
		}
		out[fmt.Sprint(key.Value())] = v
	}
	return out, nil
}

// with gives a scope that knows more.
func (s *scope) with(name string, value any) *scope {
	inner := *s
	inner.known = maps.Clone(s.known)
	inner.known[name] = value
	return &inner
}
