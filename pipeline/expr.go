package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// piece is a part of a text: an expression, or what stands between two.
type piece struct {
	text   string
	offset int // of its first byte in the text of the node
	isExpr bool
}

func (p piece) trimmed() string {
	return shorten(strings.Join(strings.Fields(p.text), " "), stepNameWidth)
}

// pieces cuts a text at its expressions. A text that is one expression, and spaces around it, is one piece.
func (d *decoder) pieces(n *node) ([]piece, bool) {
	var out []piece
	at := 0
	for {
		i := strings.Index(n.text[at:], "${{")
		if i < 0 {
			break
		}
		if i > 0 {
			out = append(out, piece{text: n.text[at : at+i], offset: at})
		}
		start := at + i + len("${{")
		size := exprSize(n.text[start:])
		if size < 0 {
			x := d.add(exprUnclosed, d.inText(n, at+i, len("${{")), `"${{" is not closed`)
			if x.Suggestion = "add }}"; strings.Contains(n.text[start:], "}}") {
				x.Suggestion = "a quote or brace before }} is not closed"
			}
			return nil, false
		}
		if strings.TrimSpace(n.text[start:start+size]) == "" {
			d.add(exprSyntax, d.inText(n, at+i, len("${{")), `"${{ }}" has no expression inside`).Suggestion = "write one, such as ${{ branch }}"
			return nil, false
		}
		out = append(out, piece{text: n.text[start : start+size], offset: start, isExpr: true})
		at = start + size + len("}}")
	}
	if at < len(n.text) {
		out = append(out, piece{text: n.text[at:], offset: at})
	}
	if only, ok := onlyExpr(out); ok {
		return []piece{only}, true
	}
	return out, true
}

func onlyExpr(pieces []piece) (only piece, ok bool) {
	for _, p := range pieces {
		switch {
		case p.isExpr && ok, !p.isExpr && strings.TrimSpace(p.text) != "":
			return piece{}, false
		case p.isExpr:
			only, ok = p, true
		}
	}
	return only, ok
}

// exprSize is where the expression that starts a text ends with "}}", or -1. A text in quotes, a map and a comment may hold braces.
func exprSize(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' || c == '\'':
			size := quotedSize(text, i)
			if size < 0 {
				return -1
			}
			i += size - 1
		case strings.HasPrefix(text[i:], "//"):
			if end := strings.IndexByte(text[i:], '\n'); end > 0 {
				i += end
			}
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		case strings.HasPrefix(text[i:], "}}"):
			return i
		}
	}
	return -1
}

// quotedSize is how many bytes a text in quotes has that starts there, quotes included, or -1.
func quotedSize(text string, start int) int {
	quote := text[start : start+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(text[start:], triple) {
		quote = triple
	}
	before := strings.TrimRight(text[:start], "bB")
	raw := strings.HasSuffix(before, "r") || strings.HasSuffix(before, "R")
	for i := start + len(quote); i < len(text); i++ {
		switch {
		case text[i] == '\\' && !raw:
			i++
		case strings.HasPrefix(text[i:], quote):
			return i + len(quote) - start
		}
	}
	return -1
}

// evaluate works out an expression of a node's text.
func (d *decoder) evaluate(n *node, p piece, s *scope) (answer, bool) {
	c := d.exprs.compile(p.text)
	for _, problem := range c.problems {
		d.add(problem.code, d.inText(n, p.offset+min(problem.offset, len(p.text)), max(1, problem.width)), "%s", problem.message).
			Suggestion = problem.suggestion
	}
	if len(c.problems) > 0 || !d.checkMentions(n, p, c, s) {
		return answer{}, false
	}
	s, ok := d.inputScope(n, p, c, s)
	if !ok {
		return answer{}, false
	}
	a, err := d.exprs.eval(c, s)
	if err != nil {
		d.add(exprFailed, d.inText(n, p.offset+leading(p.text), firstLineWidth(strings.TrimSpace(p.text))), "%s cannot be evaluated: %v", p.trimmed(), err)
		return answer{}, false
	}
	return a, true
}

func leading(text string) int { return len(text) - len(strings.TrimLeft(text, " \n\t")) }

// checkMentions looks at the keys behind names whose fields CEL does not know: axes of a matrix, variables, outputs.
func (d *decoder) checkMentions(n *node, p piece, c *compiledExpr, s *scope) bool {
	ok := true
	for _, m := range c.mentions {
		at := func() span { return d.inText(n, p.offset+min(m.offset, len(p.text)), firstLineWidth(m.text)) }
		switch {
		case m.path[0] == nameParams && len(m.path) > 1:
			d.paramsUsed[m.path[1]] = true
		case m.has || m.optional && m.path[0] != nameOutputs: // it asks
		case m.path[0] == nameMatrix && len(m.path) > 1:
			axes, _ := s.known[nameMatrix].(map[string]any)
			ok = d.checkKey(at, m.path[1], sortedKeys(axes), `the matrix has no axis`, "declare it below matrix:") && ok
		case m.path[0] == nameEnv && len(m.path) > 1:
			known := append(sortedKeys(s.env()), sortedKeys(s.lateEnv)...)
			ok = d.checkKey(at, m.path[1], known, "there is no variable", "expressions see the variables of the Ottofile, not those of the agent") && ok
		case m.path[0] == nameOutputs && len(m.path) > 1:
			d.outputsRead = append(d.outputsRead, outputRead{path: m.path, at: at(), optional: m.optional})
		}
	}
	return ok
}

func (d *decoder) checkKey(at func() span, key string, known []string, what, otherwise string) bool {
	if slices.Contains(known, key) {
		return true
	}
	x := d.add(exprUnknownName, at(), "%s %q", what, shorten(key, 40))
	x.Suggestion = otherwise
	if near := nearest(key, known); near != "" {
		x.Suggestion = fmt.Sprintf("did you mean %q?", near)
	}
	return false
}

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
