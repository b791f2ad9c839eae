package pipeline

import (
	"fmt"
	"strings"
)

// checkExpr refuses "${{" in a script. Data from outside (branch names, titles, outputs) must have no path into code:
// it goes into a variable, and the shell quotes it.
func (d *decoder) checkExpr(n *node) {
	i := strings.Index(n.text, "${{")
	if i < 0 {
		return
	}
	expr, width := n.text[i+len("${{"):], len("${{")
	if end := strings.Index(expr, "}}"); end >= 0 {
		expr = expr[:end]
		if !strings.Contains(expr, "\n") {
			width = len("${{") + len([]rune(expr)) + len("}}")
		}
	}
	expr = shorten(strings.Join(strings.Fields(expr), " "), 60)
	name := variableFor(expr)
	d.add(exprInScript, d.inText(n, i, width), `"${{" in a script would let data become code`).
		Suggestion = fmt.Sprintf("write  env: { %s: \"${{ %s }}\" }  beside sh, and \"$%s\" in the script", name, expr, name)
}

// variableFor makes the name of a variable from an expression: params.environment becomes PARAMS_ENVIRONMENT.
func variableFor(expr string) string {
	name := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'A'
		case c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
			return c
		case c == '.' || c == '_' || c == '-':
			return '_'
		}
		return -1
	}, expr)
	if name = strings.Trim(name, "_"); name == "" || !envName.MatchString(name) || reservedName(name) {
		return "VALUE"
	}
	return name
}
