package properties

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// object is a mapping of an Ottofile, with its keys in order; its values are objects, lists ([]any), texts, numbers and booleans.
type object []entry

type entry struct {
	key   string
	value any
}

// with adds an entry, unless its value says nothing.
func (o object) with(key string, value any) object {
	switch v := value.(type) {
	case nil:
		return o
	case string:
		if v == "" {
			return o
		}
	case bool:
		if !v {
			return o
		}
	case int:
		if v == 0 {
			return o
		}
	case object:
		if len(v) == 0 {
			return o
		}
	case []any:
		if v == nil {
			return o
		}
	}
	return append(o, entry{key, value})
}

// asJSON writes a tree in braces, which YAML reads, too.
func asJSON(v any) string {
	switch v := v.(type) {
	case object:
		parts := make([]string, 0, len(v))
		for _, e := range v {
			parts = append(parts, scalar(e.key)+": "+asJSON(e.value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		parts := make([]string, 0, len(v))
		for _, item := range v {
			parts = append(parts, asJSON(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return scalar(v)
}

// asYAML writes a tree as people do: one entry a line. Names of keys are plain.
func asYAML(v any, indent string) string {
	var b strings.Builder
	switch v := v.(type) {
	case object:
		for _, e := range v {
			fmt.Fprintf(&b, "\n%s%s:%s", indent, plainKey(e.key), asYAML(e.value, indent+"  "))
		}
	case []any:
		for _, item := range v {
			fmt.Fprintf(&b, "\n%s-%s", indent, asYAML(item, indent+"  "))
		}
	default:
		return " " + scalar(v)
	}
	if b.Len() == 0 {
		return " " + asJSON(v)
	}
	return b.String()
}

func plainKey(key string) string {
	if strings.ContainsAny(key, " :\"'") {
		return scalar(key)
	}
	return key
}

func scalar(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// shuffled gives the tree with the keys of its objects in another order, except where the order means something: the axes of a matrix.
func shuffled(v any, perm func(n int) []int) any {
	switch v := v.(type) {
	case object:
		out := make(object, len(v))
		for to, from := range perm(len(v)) {
			out[to] = v[from]
			if v[from].key != "matrix" {
				out[to].value = shuffled(v[from].value, perm)
			}
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, item := range v {
			out = append(out, shuffled(item, perm))
		}
		return out
	}
	return v
}
