package pipeline

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// node is a value of the file, whatever library parsed it: only yaml.go knows which.
type node struct {
	kind  kind
	style style
	at    span
	text  string // of a scalar: a plain one as it is written, a quoted or block one as it is meant
	pairs []pair
	items []*node
	size  int // nodes below and including this one, aliases expanded
	bytes int // text below and including this one, aliases expanded

	dynamic bool       // an expression or a condition is in it or below it
	filled  bool       // an expression gave it: "${{" in it is text
	late    string     // CEL that gives the text once the run gets there
	cond    *Condition // of a `when` that has been worked out
}

// seeDynamic notes whether an expression or a condition is below a mapping or list that was put together anew.
func (n *node) seeDynamic() {
	if n.kind == mappingKind {
		n.dynamic = slices.ContainsFunc(n.pairs, func(p pair) bool { return p.value.dynamic || p.key.text == "when" })
	}
	if n.kind == listKind {
		n.dynamic = slices.ContainsFunc(n.items, func(item *node) bool { return item.dynamic })
	}
}

// pair is an entry of a mapping.
type pair struct {
	key, value *node
}

// kind is what a value is in YAML 1.2.
type kind string

const (
	nullKind    kind = "nothing"
	stringKind  kind = "a string"
	boolKind    kind = "a boolean"
	numberKind  kind = "a number"
	mappingKind kind = "a mapping"
	listKind    kind = "a list"
	brokenKind  kind = "broken" // its problem is in the report already; whoever meets it keeps quiet
)

// style is how a scalar is written.
type style int

const (
	plain style = iota
	quoted
	literal // after |
	folded  // after >
	made    // put together from a template and its inputs: no place in a file has its text
)

// isScalar tells whether the value has a text.
func (n *node) isScalar() bool {
	return n.kind == stringKind || n.kind == boolKind || n.kind == numberKind
}

// find gives the entry with this key.
func (n *node) find(name string) (pair, bool) {
	for _, p := range n.pairs {
		if p.key.text == name {
			return p, true
		}
	}
	return pair{}, false
}

var numberText = regexp.MustCompile(`^([-+]?[0-9][0-9_]*|0o[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+|` +
	`[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)

// resolve tells what a plain scalar is by its text alone. Octal and the like are numbers here so that they are
// refused where a number is wanted; where a text is wanted they stay as written.
func resolve(text string) kind {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return nullKind
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return boolKind
	}
	if numberText.MatchString(text) {
		return numberKind
	}
	return stringKind
}

// firstLineWidth is how many characters of a value stand on the line where it starts.
func firstLineWidth(text string) int {
	line, _, _ := strings.Cut(text, "\n")
	return utf8.RuneCountInString(line)
}

// plain is the value of a node without its place: text of a string, number or boolean as typed values, lists as lists.
func (n *node) plain() any {
	switch n.kind {
	case boolKind:
		return strings.EqualFold(n.text, "true")
	case numberKind:
		return json.Number(n.text)
	case listKind:
		out := make([]any, 0, len(n.items))
		for _, item := range n.items {
			out = append(out, item.plain())
		}
		return out
	case mappingKind:
		out := make(map[string]any, len(n.pairs))
		for _, p := range n.pairs {
			out[p.key.text] = p.value.plain()
		}
		return out
	case nullKind:
		return nil
	}
	return n.text
}
