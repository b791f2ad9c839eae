package pipeline

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// origins notes where the values of a plan come from, by JSON pointer.
type origins struct {
	src  *source // of what has no other
	kind string  // of what the file says: file or model
	at   map[string]Origin
}

// The kinds of origins.
const (
	originFile       = "file"
	originModel      = "model"
	originDefault    = "default"
	originConvention = "convention"
	originGiven      = "given" // by whoever asked for the run
)

// noteExpr is the note of a value that an expression gave.
const noteExpr = "by the expression there"

// say notes that the file says the value, and where.
func (o *origins) say(ptr string, n *node) {
	origin := Origin{Kind: o.kind, File: n.at.source(o.src).name, Line: n.at.line, Column: n.at.column, Template: n.at.template(), Used: n.at.uses(o.src)}
	if n.filled {
		origin.Note = noteExpr
	}
	o.at[ptr] = origin
}

// sayAs notes where the file says what a value is made of, and how.
func (o *origins) sayAs(ptr string, n *node, note string) {
	o.say(ptr, n)
	origin := o.at[ptr]
	origin.Note = note
	o.at[ptr] = origin
}

// sayAll notes the place of each value below a pointer.
func sayAll(o *origins, ptr string, v any, n *node) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			sayAll(o, ptr+"/"+escape(key), inner, n)
		}
	case []any:
		for i, inner := range v {
			sayAll(o, pointer(ptr, i), inner, n)
		}
	default:
		o.at[ptr] = Origin{Kind: o.kind, File: n.at.source(o.src).name, Line: n.at.line, Column: n.at.column, Note: noteMatrix, Template: n.at.template(), Used: n.at.uses(o.src)}
	}
}

// noteMatrix is the note of the values of a leg.
const noteMatrix = "by the matrix of this task"

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// sayCapability notes the place of a requirement, which may be made of several values.
func (o *origins) sayCapability(ptr string, v any, n *node) {
	switch v := v.(type) {
	case []string:
		for i := range v {
			o.sayAs(pointer(ptr, i), n, noteItem)
		}
	case Range:
		for op := range v {
			o.sayAs(ptr+"/"+escape(op), n, noteBound)
		}
	case int64:
		o.say(ptr, n)
		if n.kind == stringKind {
			o.sayAs(ptr, n, noteSize)
		}
	default:
		o.say(ptr, n)
	}
}

// sayIf notes a value only if it stands in the plan: what is false or empty is left out of its JSON.
func (o *origins) sayIf(ptr string, n *node, present bool) {
	if present {
		o.say(ptr, n)
	}
}

// sayOr notes where the file says the value, or that it is a default.
func (o *origins) sayOr(ptr string, n *node, note string) {
	if n == nil {
		o.fallback(ptr, originDefault, note)
		return
	}
	o.say(ptr, n)
}

// fallback notes that a rule gave the value.
func (o *origins) fallback(ptr, kind, note string) {
	o.at[ptr] = Origin{Kind: kind, Note: note}
}

// pointer appends an index to a JSON pointer.
func pointer(ptr string, i int) string { return ptr + "/" + strconv.Itoa(i) }

// escape writes a key for a JSON pointer.
func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}
