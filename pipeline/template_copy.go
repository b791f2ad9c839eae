package pipeline

import (
	"regexp"
	"strings"
)

// copier makes the body of a template for one use. Inputs are put in as nodes, or as text within a text: never does a
// value become YAML, a condition or a script.
type copier struct {
	*expander
	use   *node
	in    *frame
	seats map[*frame]map[span]*frame
}

// oneInput is an expression that is an input and nothing else.
var oneInput = regexp.MustCompile(`^\s*inputs\.([A-Za-z_][A-Za-z0-9_]*)\s*$`)

// isCode tells the keys whose text is run or evaluated: a value in it would become code.
func isCode(key string) bool { return key == "sh" || key == "when" || key == "until" }

// node copies a part of the template; key is the one it stands behind.
func (c *copier) node(n *node, key string) *node {
	if !c.charge(c.use, 1, len(n.text)) {
		return brokenAt(n)
	}
	if n.kind == stringKind && n.dynamic && !isCode(key) {
		return c.text(n)
	}
	return c.children(n, c.in, c.node)
}

// children copies a node with what is below it.
func (c *copier) children(n *node, in *frame, child func(*node, string) *node) *node {
	out := *n
	out.at.in, out.pairs, out.items = in, nil, nil
	for _, p := range n.pairs {
		key := *p.key
		key.at.in = in
		out.pairs = append(out.pairs, pair{&key, child(p.value, p.key.text)})
	}
	for _, item := range n.items {
		out.items = append(out.items, child(item, ""))
	}
	out.seeDynamic()
	return &out
}

// text puts inputs into a text. Other expressions stay as they are, to be worked out as all are, and so do inputs that could make
// one with the text around them: what comes from outside the file must not be looked through for expressions again.
func (c *copier) text(n *node) *node {
	out := *n
	out.at.in = c.in
	pieces, ok := c.pieces(&out)
	if !ok {
		return brokenAt(&out)
	}
	if v := c.input(pieces[0]); v != nil && len(pieces) == 1 {
		return c.value(v, out.at)
	}
	var b strings.Builder
	open, put := false, false
	for _, p := range pieces {
		text := p.text
		v := c.input(p)
		switch {
		case v != nil && !v.isScalar() && v.kind != brokenKind:
			at := c.inText(&out, p.offset, firstLineWidth(p.text))
			c.add(misplacedInput, at, "%s is %s, and cannot be part of a text", strings.TrimSpace(p.text), v.kind).
				Suggestion = "let the expression be the whole value"
			return brokenAt(&out)
		case v != nil && (v.dynamic || !strings.ContainsAny(v.text, "${")):
			text, put, open = v.text, true, open || v.dynamic
		case p.isExpr:
			text, open = "${{"+p.text+"}}", true
		}
		if !c.charge(c.use, 0, len(text)) {
			return brokenAt(&out)
		}
		b.WriteString(text)
	}
	if put {
		out.text, out.style, out.dynamic, out.filled = b.String(), made, open, !open
	}
	return &out
}

// input is the value of a piece that is an input and nothing else.
func (c *copier) input(p piece) *node {
	m := oneInput.FindStringSubmatch(p.text)
	if m == nil || !p.isExpr {
		return nil
	}
	return c.in.inputs[m[1]]
}

// value puts an input in the place of an expression. It keeps its own place in the file, and remembers where it is used.
func (c *copier) value(n *node, used span) *node {
	if !c.charge(c.use, 1, len(n.text)) {
		return &node{kind: brokenKind, at: used, size: 1}
	}
	file, inputs := c.own, map[string]*node(nil)
	if n.at.in != nil {
		file, inputs = n.at.in.file, n.at.in.inputs
	}
	if c.seats[n.at.in] == nil {
		c.seats[n.at.in] = map[span]*frame{}
	}
	in, ok := c.seats[n.at.in][used]
	if !ok {
		in = &frame{file: file, template: c.in.template, used: used, inputs: inputs}
		c.seats[n.at.in][used] = in
	}
	return c.children(n, in, func(child *node, _ string) *node { return c.value(child, used) })
}
