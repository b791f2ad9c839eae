package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Expressions are worked out on nodes, before anything is read into declarations: whoever reads a node finds a value and need
// not know whether the file or an expression said it. A value that came from an expression is never read as YAML again.

// apart are the keys of objects whose values open leaves alone: scripts never hold expressions, conditions and lists of tasks
// have a reader of their own, and the rest says what expressions may use.
func apart(key string) bool {
	switch key {
	case "sh", "when", "env", "steps", "matrix", "params", "on", "defaults", "environments", "templates", "stages", "on_failure", "parallel", "fanout", "linear", "tasks":
		return true
	}
	return false
}

// open works out the expressions of an object (a file, stage, task or step) and gives the scope of what is inside: its own
// variables count.
func (d *decoder) open(n *node, s *scope) (*node, *scope) {
	if n.kind != mappingKind || !n.dynamic {
		return n, s.withEnv(d, n)
	}
	out := *n
	out.pairs = slices.Clone(n.pairs)
	if i := slices.IndexFunc(out.pairs, func(p pair) bool { return p.key.text == "environment" }); i >= 0 {
		out.pairs[i].value = d.fill(out.pairs[i].value, s)
		if name := out.pairs[i].value; name.kind == stringKind {
			s = s.with(nameEnvironment, strings.TrimSpace(name.text))
		}
	}
	if i := slices.IndexFunc(out.pairs, func(p pair) bool { return p.key.text == "env" }); i >= 0 {
		out.pairs[i].value = d.fillEnv(out.pairs[i].value, s)
		s = s.withEnv(d, &out)
	}
	for i, p := range out.pairs {
		switch {
		case p.key.text == "when":
			out.pairs[i].value = d.judge(p.value, s)
		case p.key.text == "steps" && p.value.kind == listKind:
			out.pairs[i].value = d.openSteps(p.value, s)
		case !apart(p.key.text) && (p.key.text != "always" || p.value.kind != listKind): // a list of stages, or a boolean
			out.pairs[i].value = d.fill(p.value, s)
		}
	}
	return &out, s
}

func (d *decoder) openSteps(n *node, s *scope) *node {
	if !n.dynamic {
		return n
	}
	out := *n
	out.items = make([]*node, 0, len(n.items))
	for _, item := range n.items {
		step, _ := d.open(item, s)
		out.items = append(out.items, step)
	}
	return &out
}

// withEnv adds the variables of an object to the scope.
func (s *scope) withEnv(d *decoder, n *node) *scope {
	p, ok := n.find("env")
	if !ok || p.value.kind != mappingKind || !d.dynamic {
		return s
	}
	inner := s.with(nameEnv, nil)
	known, late := map[string]string{}, map[string]string{}
	for name, v := range s.env() {
		known[name] = v
	}
	for name, residual := range s.lateEnv {
		late[name] = residual
	}
	for _, v := range p.value.pairs {
		delete(known, v.key.text)
		delete(late, v.key.text)
		if v.value.late != "" {
			late[v.key.text] = v.value.late
		} else {
			known[v.key.text] = v.value.text
		}
	}
	inner.known[nameEnv], inner.lateEnv = known, late
	return inner
}

func (s *scope) env() map[string]string {
	env, _ := s.known[nameEnv].(map[string]string)
	return env
}

// fillEnv works out variables. They are the one place for values that only the run knows.
func (d *decoder) fillEnv(n *node, s *scope) *node {
	if n.kind != mappingKind || !n.dynamic {
		return n
	}
	out := *n
	out.pairs = slices.Clone(n.pairs)
	for i, p := range out.pairs {
		if p.value.kind == stringKind && p.value.dynamic {
			out.pairs[i].value = d.fillText(p.value, s)
		}
	}
	return &out
}

// fill works out every expression below a node.
func (d *decoder) fill(n *node, s *scope) *node {
	if !n.dynamic {
		return n
	}
	out := *n
	switch n.kind {
	case stringKind:
		filled := d.fillText(n, s)
		if filled.late != "" {
			d.add(exprLater, n.at, "%s is known only when the run gets there", shorten(oneLine(n.text), stepNameWidth)).
				Suggestion = "only when: and the values of env: may wait for it"
			return brokenAt(n)
		}
		return filled
	case listKind:
		out.items = make([]*node, 0, len(n.items))
		for _, item := range n.items {
			out.items = append(out.items, d.fill(item, s))
		}
	case mappingKind:
		out.pairs = slices.Clone(n.pairs)
		for i, p := range out.pairs {
			out.pairs[i].value = d.fill(p.value, s)
		}
	}
	return &out
}

// maxFilledBytes bounds what the expressions of one text make: a value can stand in it a thousand times.
const maxFilledBytes = 1 << 20

// fillText works out a text. One that is a single expression takes the type of its value; else the values are put in as text.
func (d *decoder) fillText(n *node, s *scope) *node {
	pieces, ok := d.pieces(n)
	if !ok {
		return brokenAt(n)
	}
	var known strings.Builder
	var late []string
	isLate, broken := false, false
	for _, p := range pieces {
		if !p.isExpr {
			known.WriteString(p.text)
			late = append(late, strconv.Quote(p.text))
			continue
		}
		a, ok := d.evaluate(n, p, s)
		switch {
		case !ok:
			broken = true
		case a.later():
			isLate = true
			late = append(late, "text("+a.residual+")")
		case len(pieces) == 1:
			return valueNode(a.value, n)
		default:
			text, err := plainText(a.value)
			if err != nil {
				d.add(exprType, d.inText(n, p.offset, firstLineWidth(p.text)), "%s cannot be put into a text: %v", p.trimmed(), err)
				broken = true
			}
			known.WriteString(text)
			late = append(late, strconv.Quote(text))
		}
		if known.Len() > maxFilledBytes {
			d.add(tooMuch, n.at, "the expressions of the text make more than %d bytes of it", maxFilledBytes)
			return brokenAt(n)
		}
	}
	switch {
	case broken:
		return brokenAt(n)
	case isLate:
		return &node{kind: stringKind, style: n.style, at: n.at, size: 1, filled: true, late: strings.Join(late, " + ")}
	}
	return valueNode(known.String(), n)
}

func brokenAt(n *node) *node { return &node{kind: brokenKind, at: n.at, size: 1} }

// plainText writes a scalar as text.
func plainText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case nil:
		return "", nil
	}
	return "", fmt.Errorf("it is %s", kindOf(v))
}

func kindOf(v any) kind {
	switch v.(type) {
	case string:
		return stringKind
	case bool:
		return boolKind
	case int64, float64:
		return numberKind
	case []any:
		return listKind
	case map[string]any:
		return mappingKind
	}
	return nullKind
}

// valueNode makes a node of a value that stands where an expression stood.
func valueNode(v any, at *node) *node {
	n := &node{kind: kindOf(v), style: at.style, at: at.at, size: 1, filled: true}
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			n.items = append(n.items, valueNode(item, at))
		}
	case map[string]any:
		for _, key := range sortedKeys(v) {
			n.pairs = append(n.pairs, pair{&node{kind: stringKind, at: at.at, text: key, size: 1, filled: true}, valueNode(v[key], at)})
		}
	default:
		n.text, _ = plainText(v) // a scalar
		n.bytes = len(n.text)
	}
	return n
}
