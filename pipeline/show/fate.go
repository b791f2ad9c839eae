package show

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ottoci/otto/pipeline"
)

// fateOfStage says whether any task of a stage runs, and the stage's own condition.
func fateOfStage(s *pipeline.Stage) (pipeline.Verdict, string) {
	verdict := pipeline.VerdictFalse
	if len(s.Tasks) == 0 {
		verdict = pipeline.VerdictTrue
	}
	for i := range s.Tasks {
		own, _ := FateOfTask(s, i)
		if own == pipeline.VerdictTrue || own == pipeline.VerdictLater && verdict == pipeline.VerdictFalse {
			verdict = own
		}
	}
	switch {
	case s.When != nil:
		if s.When.Verdict != pipeline.VerdictTrue {
			verdict = s.When.Verdict
		}
		return verdict, sentence(s.When, "")
	case s.OnFailure && verdict != pipeline.VerdictFalse:
		return pipeline.VerdictLater, "runs if anything before it has failed"
	}
	return verdict, ""
}

// FateOfTask says whether a task runs, and what decides that: its own condition, or its stage's.
func FateOfTask(s *pipeline.Stage, i int) (pipeline.Verdict, string) {
	t := &s.Tasks[i]
	verdict := verdictOf(t.When, t.Omitted, residual(t, "/when"))
	switch {
	case said(s.When, pipeline.VerdictFalse):
		return pipeline.VerdictFalse, "its stage does not run"
	case t.Omitted != "" && !said(t.When, pipeline.VerdictFalse):
		return verdict, t.Omitted
	case t.AddedBy != "" && verdict == pipeline.VerdictLater:
		return verdict, "runs if " + t.AddedBy + " adds it"
	case verdict != pipeline.VerdictFalse && t.When == nil && said(s.When, pipeline.VerdictLater):
		return pipeline.VerdictLater, "decided with its stage"
	case verdict == pipeline.VerdictTrue && s.OnFailure:
		return pipeline.VerdictLater, sentence(t.When, "")
	}
	return verdict, sentence(t.When, residual(t, "/when"))
}

// FateOfStep says whether a step of a task runs, should the task, and what decides that.
func FateOfStep(t *pipeline.Task, i int) (pipeline.Verdict, string) {
	s := &t.Steps[i]
	left := residual(t, fmt.Sprintf("/steps/%d/when", i))
	if s.Omitted != "" && !said(s.When, pipeline.VerdictFalse) {
		return pipeline.VerdictFalse, s.Omitted
	}
	return verdictOf(s.When, s.Omitted, left), sentence(s.When, left)
}

// verdictOf is what is known of a part, by what the plan says in one of three places.
func verdictOf(when *pipeline.Condition, omitted, later string) pipeline.Verdict {
	switch {
	case omitted != "" || said(when, pipeline.VerdictFalse):
		return pipeline.VerdictFalse
	case later != "" || said(when, pipeline.VerdictLater):
		return pipeline.VerdictLater
	}
	return pipeline.VerdictTrue
}

func said(c *pipeline.Condition, v pipeline.Verdict) bool { return c != nil && c.Verdict == v }

// residual is what is left to be decided of a field of a task.
func residual(t *pipeline.Task, field string) string {
	for _, l := range t.Later {
		if l.Field == field {
			return l.Expr
		}
	}
	return ""
}

// sentence says a condition with the values that it saw, or what is left of it.
func sentence(c *pipeline.Condition, left string) string {
	switch {
	case c == nil && left == "":
		return ""
	case c == nil:
		return oneLine(left) + " is decided later"
	}
	expr, saw := oneLine(c.Expr), sawText(c)
	if c.Verdict != pipeline.VerdictLater {
		return expr + " is " + string(c.Verdict) + prefixed(": ", saw)
	}
	if left == "" {
		left = c.Residual
	}
	text := expr + " is decided later" + prefixed("; ", saw)
	if left = oneLine(left); left != "" && left != expr {
		text += ", which leaves " + left
	}
	return text
}

// sawText says the values that decided, unless the expression is but that value.
func sawText(c *pipeline.Condition) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(c.Saw)) {
		if strings.TrimSpace(c.Expr) == name {
			continue
		}
		parts = append(parts, oneLine(name)+" is "+valueText(c.Saw[name]))
	}
	return strings.Join(parts, ", ")
}

// valueText writes a value as JSON does, which is how CEL writes most of them, too.
func valueText(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// oneLine folds what is written over several lines.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
