package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// inputMap is a type that inputs have beside those of parameters: a mapping, such as variables.
const inputMap = "map"

func inputTypes() []string { return append(paramTypes(), inputMap) }

// inputObject describes the declaration of an input: it is a parameter of a template.
func inputObject() object[paramDecl] {
	o := paramObject()
	o.what, o.doc = "an input", "A value that a use of the template may say."
	o.keys = slices.Clone(o.keys)
	for i, k := range o.keys {
		switch k.name {
		case "type":
			o.keys[i].doc = "string (the default), boolean, integer, number, choice (a string of its enum), list or map."
			o.keys[i].typ = inputTypeType
			o.keys[i].set = func(d *decoder, p *paramDecl, _, v *node) { p.typ = d.oneOf(v, "a type", badParam, inputTypes()) }
		case "required":
			o.keys[i].doc = "A use must say it."
		case "description":
			o.keys[i].doc = "What it is for."
		}
	}
	return o
}

// inputs reads the declarations of a template.
func (d *decoder) inputs(n *node) []paramDecl {
	if !d.want(n, mappingKind, "inputs") {
		return nil
	}
	if len(n.pairs) > maxParams {
		d.add(tooMuch, n.at, "the template has %d inputs; at most %d are allowed", len(n.pairs), maxParams)
		return nil
	}
	var out []paramDecl
	for _, p := range n.pairs {
		if !paramName.MatchString(p.key.text) {
			d.add(badParam, p.key.at, "%q cannot be the name of an input", shorten(p.key.text, 60)).Suggestion = "use letters, digits and _, and no digit first"
			continue
		}
		if p.value.kind == mappingKind {
			out = append(out, d.input(p.key, p.value))
		} else {
			out = append(out, d.param(p.key, p.value))
		}
	}
	return out
}

func (d *decoder) input(name, n *node) paramDecl {
	in := decodeObject(d, d.lang.input, n)
	fallback := in.fallback
	if in.isNested() {
		in.fallback = nil // checked below: its values keep what is written
	}
	d.checkParam(&in, name)
	in.fallback = fallback
	switch {
	case fallback == nil:
	case eachHasExpr(fallback):
		d.add(badParam, fallback.at, "a default is a constant, without ${{ … }}")
	case in.isNested():
		if p := in.problem(fallback); p.text != "" {
			d.add(badParamValue, p.at.at, "the default of %s does not fit: it %s", name.text, p.text)
		}
	}
	return in
}

// isNested tells the types whose values are not one text.
func (p *paramDecl) isNested() bool { return p.typ.v == paramList || p.typ.v == inputMap }

// inputProblem is why a value is not one of an input.
type inputProblem struct {
	at         *node
	text, hint string
}

// problem tells why a value does not fit; its text is empty if it does. Unlike a parameter, which may come from a command
// line, an input is written in YAML, which knows a boolean from a text.
func (p *paramDecl) problem(n *node) inputProblem {
	want := map[string]kind{
		paramBoolean: boolKind, paramInteger: numberKind, paramNumber: numberKind, paramList: listKind, inputMap: mappingKind,
	}[p.typ.v]
	if want == "" {
		want = stringKind
	}
	if n.kind != want {
		wrong := inputProblem{at: n, text: fmt.Sprintf("must be %s, and this is %s", want, n.kind)}
		if want == stringKind && (n.kind == boolKind || n.kind == numberKind) {
			wrong.hint = fmt.Sprintf("quote it: %q", n.text)
		}
		return wrong
	}
	if p.isNested() {
		if err := p.bounds(append([]any{}, anyItems(n)...)); err != nil && p.typ.v == paramList {
			return inputProblem{at: n, text: "does not fit: " + err.Error()}
		}
		return inputProblem{}
	}
	if _, err := p.read(n.plain()); err != nil {
		return inputProblem{at: n, text: "does not fit: " + err.Error()}
	}
	return inputProblem{}
}

func anyItems(n *node) []any {
	items, _ := n.plain().([]any)
	return items
}

// zeroNode is the value of an input that nobody says and that has no default.
func (p *paramDecl) zeroNode() *node {
	n := &node{kind: stringKind, style: quoted, at: p.name.at, size: 1}
	switch p.typ.v {
	case paramBoolean:
		n.kind, n.text = boolKind, "false"
	case paramInteger, paramNumber:
		n.kind, n.text = numberKind, "0"
	case paramList:
		n.kind = listKind
	case inputMap:
		n.kind = mappingKind
	}
	return n
}

// eachHasExpr tells whether any text below a node has an expression.
func eachHasExpr(n *node) bool {
	found := false
	eachScalar(n, func(n *node) { found = found || strings.Contains(n.text, "${{") })
	return found
}

// bind gives each input of a template its value at one use: what `with` says, or the default.
func (e *expander) bind(t *templateDecl, use *node, with *node) (map[string]*node, bool) {
	given := map[string]*node{}
	ok := true
	if with != nil {
		if !e.want(with, mappingKind, `"with"`) {
			return nil, false
		}
		for _, p := range with.pairs {
			given[p.key.text] = p.value
			ok = e.known(t, p.key) && ok
		}
	}
	values := map[string]*node{}
	for i := range t.inputs {
		in := &t.inputs[i]
		n, said := given[in.name.text]
		switch {
		case said:
			if n = e.early(n); !e.charge(use, 0, len(n.text)) || !e.fits(t, in, n) {
				ok = false
			}
		case in.fallback != nil:
			n = in.fallback
		case in.required.v || in.typ.v == paramChoice:
			e.add(missingInput, use.at, "the template %q needs the input %q", t.name, in.name.text).Suggestion =
				fmt.Sprintf("add  with: { %s: … }", in.name.text)
			ok = false
		default:
			n = in.zeroNode()
		}
		values[in.name.text] = n
	}
	return values, ok
}

// known refuses what `with` says beside the inputs.
func (e *expander) known(t *templateDecl, k *node) bool {
	var names []string
	for _, in := range t.inputs {
		names = append(names, in.name.text)
	}
	if slices.Contains(names, k.text) {
		return true
	}
	x := e.add(unknownInput, k.at, "the template %q has no input %q", t.name, shorten(k.text, 60))
	switch near := nearest(k.text, names); {
	case near != "":
		x.Suggestion = fmt.Sprintf("did you mean %q?", near)
	case len(names) == 0:
		x.Suggestion = "it has none"
	default:
		x.Suggestion = "it has " + strings.Join(names, ", ")
	}
	return false
}

// fits checks a value that a use gives. What holds an expression that only its place can work out, is checked there.
func (e *expander) fits(t *templateDecl, in *paramDecl, n *node) bool {
	if n.kind == brokenKind {
		return false
	}
	if n.kind == stringKind && n.dynamic {
		return true
	}
	p := in.problem(n)
	if p.text != "" {
		e.add(wrongInput, p.at.at, "the input %q of the template %q %s", in.name.text, t.name, p.text).Suggestion = p.hint
	}
	return p.text == ""
}

// early works out the expressions of a value, if they read only what is the same everywhere in the file.
func (e *expander) early(n *node) *node {
	if !n.dynamic || e.exprs == nil || !e.isEarly(n) {
		return n
	}
	return e.fill(n, e.scope)
}

func (e *expander) isEarly(n *node) bool {
	early := true
	eachScalar(n, func(n *node) {
		if !n.dynamic {
			return
		}
		pieces, ok := e.pieces(n)
		early = early && ok
		for _, p := range pieces {
			if !p.isExpr {
				continue
			}
			for _, m := range e.exprs.compile(p.text).mentions {
				early = early && !slices.Contains([]string{nameMatrix, nameEnv, nameEnvironment, nameOutputs, nameStatus}, m.path[0]) && !e.readsLate(n, m)
			}
		}
	})
	return early
}

// readsLate tells whether an expression reads an input whose own value is not known here.
func (e *expander) readsLate(n *node, m mention) bool {
	if m.path[0] != nameInputs || len(m.path) < 2 || n.at.in == nil {
		return false
	}
	v, ok := n.at.in.inputs[m.path[1]]
	return ok && v.dynamic
}

// inputScope adds the inputs of the template that a node is of, as far as an expression reads them.
func (d *decoder) inputScope(n *node, p piece, c *compiledExpr, s *scope) (*scope, bool) {
	var values map[string]any
	for _, m := range c.mentions {
		if m.path[0] != nameInputs {
			continue
		}
		at := d.inText(n, p.offset+min(m.offset, len(p.text)), firstLineWidth(m.text))
		if n.at.in == nil || n.at.in.inputs == nil {
			d.add(misplacedInput, at, "inputs are known in templates, and this is none").Suggestion = "read a parameter: params.NAME"
			return s, false
		}
		if len(m.path) < 2 {
			d.add(exprType, at, "inputs is read by names: inputs.NAME")
			return s, false
		}
		if !d.checkKey(func() span { return at }, m.path[1], sortedKeys(n.at.in.inputs), "the template has no input", "declare it below inputs:") {
			return s, false
		}
		v := d.fill(n.at.in.inputs[m.path[1]], s)
		if v.kind == brokenKind {
			return s, false
		}
		if v.late != "" {
			d.add(exprLater, at, "the value of %s is known only when the run gets there", m.text).
				Suggestion = "only ${{ " + m.text + " }} alone, as the value of a variable, can wait for it"
			return s, false
		}
		if values == nil {
			values = map[string]any{}
		}
		values[m.path[1]] = v.celValue()
	}
	if values == nil {
		return s, true
	}
	return s.with(nameInputs, values), true
}

// celValue is the value of a node in expressions.
func (n *node) celValue() any {
	switch n.kind {
	case numberKind:
		if i, err := strconv.ParseInt(n.text, 10, 64); err == nil {
			return i
		}
		f, _ := strconv.ParseFloat(n.text, 64) // a number that YAML reads
		return f
	case listKind:
		out := make([]any, 0, len(n.items))
		for _, item := range n.items {
			out = append(out, item.celValue())
		}
		return out
	case mappingKind:
		out := make(map[string]any, len(n.pairs))
		for _, p := range n.pairs {
			out[p.key.text] = p.value.celValue()
		}
		return out
	}
	return n.plain()
}
