package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// object describes a mapping of the Ottofile: the one table that decodes it, explains its mistakes and gives its schema.
type object[T any] struct {
	what string // "a stage": how messages call it
	doc  string
	keys []key[T]
}

// key describes one key of an object.
type key[T any] struct {
	name string
	doc  string
	typ  typ
	set  func(d *decoder, into *T, k, v *node)
}

// decoder reads nodes into declarations and notes what is wrong with them.
type decoder struct {
	*report
	lang  language
	steps int
	tasks int

	limits   Limits
	checking bool // see Facts.Checking
	exprs    *exprs
	declared []paramDecl // the parameters of the file
	scope    *scope      // of the file, and then of the stage that is being read
	dynamic  bool        // the file has expressions or conditions

	paramsUsed  map[string]bool
	fragments   map[string][]FragmentInput // by the task that may add others
	addedBy     map[string]string          // that task, by the name of one that it may add
	outputsRead []outputRead
}

// decodeObject reads a mapping by its table. What it gives is as complete as the file is right.
func decodeObject[T any](d *decoder, o object[T], n *node) T {
	var out T
	if !d.want(n, mappingKind, o.what) {
		return out
	}
	for _, p := range n.pairs {
		i := slices.IndexFunc(o.keys, func(k key[T]) bool { return k.name == p.key.text })
		if i < 0 {
			d.strangeKey(o.what, o.names(), p.key)
			continue
		}
		o.keys[i].set(d, &out, p.key, p.value)
	}
	return out
}

// defaults reads what tasks have that do not say it themselves.
func (d *decoder) defaults(n *node) taskDecl {
	body, _ := d.open(n, d.scope)
	return decodeObject(d, d.lang.defaults, body)
}

func (o object[T]) names() []string {
	names := make([]string, 0, len(o.keys))
	for _, k := range o.keys {
		names = append(names, k.name)
	}
	return names
}

// lift lets the keys of one object be written in another that contains it.
func lift[Outer, Inner any](keys []key[Inner], inner func(*Outer) *Inner) []key[Outer] {
	out := make([]key[Outer], 0, len(keys))
	for _, k := range keys {
		out = append(out, key[Outer]{name: k.name, doc: k.doc, typ: k.typ, set: func(d *decoder, into *Outer, key, v *node) {
			k.set(d, inner(into), key, v)
		}})
	}
	return out
}

// strangeKey explains a key that an object does not have: one of a later version, of another object, or a typo.
func (d *decoder) strangeKey(what string, known []string, k *node) {
	if later, ok := d.lang.later[k.text]; ok {
		d.add(notYet, k.at, "%q is not supported yet by this version of Otto (%s)", k.text, later)
		return
	}
	near := nearest(k.text, known)
	moved, isMoved := d.lang.moved[what+"/"+k.text]
	owners := d.lang.owners(k.text)
	switch {
	case len(owners) > 0 && isMoved:
		d.add(misplacedKey, k.at, "%q does not belong in %s", k.text, what).Suggestion = moved
	case len(owners) > 0:
		d.add(misplacedKey, k.at, "%q does not belong in %s", k.text, what).
			Suggestion = "it belongs in " + strings.Join(owners, " or ")
	case isMoved:
		d.add(unknownKey, k.at, "unknown key %q in %s", k.text, what).Suggestion = moved
	case near != "":
		d.add(unknownKey, k.at, "unknown key %q in %s", k.text, what).Suggestion = fmt.Sprintf("did you mean %q?", near)
	default:
		d.add(unknownKey, k.at, "unknown key %q in %s", shorten(k.text, 60), what).
			Suggestion = "it can have: " + strings.Join(known, ", ")
	}
}

// want checks the kind of a value and notes a difference.
func (d *decoder) want(n *node, k kind, what string) bool {
	if n.kind == k {
		return true
	}
	if n.kind != brokenKind {
		d.add(wrongType, n.at, "%s must be %s, and this is %s", what, k, n.kind)
	}
	return false
}

// list reads each item of a list.
func (d *decoder) list(n *node, what string, each func(item *node)) {
	if !d.want(n, listKind, what) {
		return
	}
	for _, item := range n.items {
		each(item)
	}
}

// str reads a text. Numbers and booleans are refused, because what is written (1.10) and what YAML means by it (1.1)
// differ, except where source gives the text as written.
func (d *decoder) str(n *node, what string) (val[string], bool) {
	if n.kind == boolKind || n.kind == numberKind {
		d.add(wrongType, n.at, "%s must be a string, and this is %s", what, n.kind).
			Suggestion = fmt.Sprintf("quote it: %q", n.text)
		return val[string]{}, false
	}
	if !d.want(n, stringKind, what) || d.hasExpr(n) {
		return val[string]{}, false
	}
	return val[string]{n.text, n}, true
}

// number reads a decimal number.
func (d *decoder) number(n *node, what string) val[float64] {
	if !d.want(n, numberKind, what) {
		return val[float64]{}
	}
	v, err := strconv.ParseFloat(n.text, 64)
	if err != nil || !decimalText.MatchString(n.text) {
		d.add(wrongType, n.at, "%s must be a decimal number, and this is %s", what, shorten(n.text, 40))
		return val[float64]{}
	}
	return val[float64]{v, n}
}

// pattern reads a regular expression.
func (d *decoder) pattern(n *node) val[string] {
	v, ok := d.str(n, "a pattern")
	if !ok {
		return v
	}
	if _, err := regexp.Compile(v.v); err != nil {
		d.add(badParam, n.at, "%q is not a regular expression: %s", shorten(v.v, 40), strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return val[string]{}
	}
	return v
}

// boolean reads true or false.
func (d *decoder) boolean(n *node, what string) val[bool] {
	if n.kind == stringKind && d.hasExpr(n) || !d.want(n, boolKind, what) {
		return val[bool]{}
	}
	return val[bool]{strings.EqualFold(n.text, "true"), n}
}

// hasExpr refuses "${{" where no expressions are worked out: it must not pass as text.
func (d *decoder) hasExpr(n *node) bool {
	i := strings.Index(n.text, "${{")
	if i < 0 || n.filled {
		return false
	}
	d.add(exprInData, d.inText(n, i, len("${{")), "an expression (${{ … }}) cannot be used here").
		Suggestion = "write the value itself"
	return true
}

// inText is the place of a byte of a scalar's text in the file, as exactly as its style lets us tell.
func (d *decoder) inText(n *node, offset, width int) span {
	return d.src.within(n, offset, width)
}

// shorten cuts a text for a message.
func shorten(s string, limit int) string {
	r := []rune(s)
	if len(r) <= limit {
		return s
	}
	return string(r[:limit-1]) + "…"
}
