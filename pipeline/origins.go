package pipeline

import (
	"strconv"
	"strings"
)

// origins notes where the values of a plan come from, by JSON pointer.
type origins struct {
	file string
	kind string // of what the file says: file or model
	at   map[string]Origin
}

// The kinds of origins.
const (
	originFile       = "file"
	originModel      = "model"
	originDefault    = "default"
	originConvention = "convention"
)

// say notes that the file says the value, and where.
func (o *origins) say(ptr string, n *node) {
	o.at[ptr] = Origin{Kind: o.kind, File: o.file, Line: n.at.line, Column: n.at.column}
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
