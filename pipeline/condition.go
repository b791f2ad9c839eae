package pipeline

import (
	"encoding/json"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
)

// judge works out a `when`, and keeps what came of it with the node.
func (d *decoder) judge(n *node, s *scope) *node {
	out := *n
	out.filled = true
	switch {
	case n.kind == boolKind:
		out.cond = &Condition{Expr: strings.ToLower(n.text), Verdict: Verdict(strings.ToLower(n.text))}
		return &out
	case n.kind != stringKind:
		d.want(n, stringKind, `"when"`)
	case strings.Contains(n.text, "${{"):
		d.add(exprInData, d.inText(n, strings.Index(n.text, "${{"), len("${{")), `"when" is an expression already`).
			Suggestion = "leave out ${{ and }}"
	case strings.TrimSpace(n.text) == "":
		d.add(exprSyntax, n.at, "the condition is empty").Suggestion = `write one, such as  when: branch == "main"`
	default:
		out.cond = d.condition(n, s)
	}
	return &out
}

func (d *decoder) condition(n *node, s *scope) *Condition {
	p := piece{text: n.text}
	c := d.exprs.compile(p.text)
	if len(c.problems) == 0 && !c.ast.OutputType().IsExactType(cel.BoolType) && !c.ast.OutputType().IsExactType(cel.DynType) {
		d.add(exprType, n.at, "a condition must be true or false, and %s is %s", p.trimmed(), c.ast.OutputType()).
			Suggestion = `compare it, as in  branch == "main"`
		return nil
	}
	a, ok := d.evaluate(n, p, s)
	if !ok {
		return nil
	}
	out := &Condition{Expr: strings.TrimSpace(n.text), Saw: a.saw}
	switch v := a.value.(type) {
	case bool:
		out.Verdict = VerdictFalse
		if v {
			out.Verdict = VerdictTrue
		}
	default:
		if !a.later() {
			d.add(exprType, n.at, "a condition must be true or false, and %s is %s", p.trimmed(), kindOf(a.value))
			return nil
		}
		out.Verdict, out.Residual = VerdictLater, a.residual
	}
	return out
}

// omits says in words why something does not run, or "" if this condition lets it.
func (c *Condition) omits() string {
	if c == nil || c.Verdict != VerdictFalse {
		return ""
	}
	var saw []string
	for _, name := range sortedKeys(c.Saw) {
		saw = append(saw, fmt.Sprintf("%s is %s", name, inWords(c.Saw[name])))
	}
	text := oneLine(c.Expr) + " is false"
	if len(saw) > 0 && len(saw) <= 4 {
		text += ": " + strings.Join(saw, ", ")
	}
	return text
}

// inWords writes a value as a sentence has it.
func inWords(v any) string {
	if text, ok := v.(string); ok {
		return fmt.Sprintf("%q", text)
	}
	switch v.(type) {
	case nil:
		return "null"
	case map[string]any:
		return "a mapping"
	}
	if items, ok := v.([]any); ok {
		words := make([]string, 0, len(items))
		for _, item := range items {
			words = append(words, inWords(item))
		}
		return "[" + strings.Join(words, ", ") + "]"
	}
	if body, err := json.Marshal(v); err == nil {
		return string(body)
	}
	return fmt.Sprint(v)
}
