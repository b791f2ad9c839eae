package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxLegs is how many legs a matrix may have, unless the settings say otherwise.
const maxLegs = 1000

// leg is one combination of a matrix.
type leg struct {
	values map[string]any
	label  string // the values in the order of the axes: "1.26, linux"
}

// legs gives the combinations of an object's matrix; without one it gives none.
func (d *decoder) legs(n *node, s *scope) (list []leg, has bool) {
	p, has := n.find("matrix")
	if !has {
		return nil, false
	}
	problems := d.noted()
	m := d.fill(p.value, s)
	switch m.kind {
	case listKind:
		if len(m.items) > d.limits.legs() {
			d.tooManyLegs(m)
			return nil, true
		}
		for _, item := range m.items {
			list = append(list, d.wholeLeg(item, nil)...)
		}
	case mappingKind:
		list = d.product(m)
	default:
		d.want(m, mappingKind, `"matrix"`)
		return nil, true
	}
	if len(list) == 0 && m.kind != brokenKind && d.noted() == problems {
		d.add(badMatrix, p.key.at, "the matrix has no legs").Suggestion = "give an axis values, as in  matrix: { go: [\"1.25\", \"1.26\"] }"
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(l leg) bool {
		twice := seen[l.label]
		if twice {
			d.add(duplicateLeg, p.key.at, "the matrix has the leg (%s) twice", l.label).Suggestion = "remove one of them"
		}
		seen[l.label] = true
		return twice
	}), true
}

// axis is a dimension of a matrix.
type axis struct {
	name   string
	values []any
	labels []string
}

// product combines the axes, takes what exclude names away and adds what include lists.
func (d *decoder) product(m *node) []leg {
	var axes []axis
	var include, exclude []*node
	legs := []leg{{values: map[string]any{}}}
	total := 1
	for _, p := range m.pairs {
		switch {
		case p.key.text == "include" || p.key.text == "exclude":
			if !d.want(p.value, listKind, `"`+p.key.text+`"`) {
				continue
			}
			if p.key.text == "include" {
				include = p.value.items
			} else {
				exclude = p.value.items
			}
		case !d.axisName(p.key):
		default:
			a := d.axis(p.key, p.value)
			axes, total = append(axes, a), total*max(1, len(a.values))
		}
		if total > d.limits.legs() {
			d.tooManyLegs(m)
			return nil
		}
	}
	for _, a := range axes {
		var next []leg
		for _, l := range legs {
			for i, v := range a.values {
				values := maps.Clone(l.values)
				values[a.name] = v
				next = append(next, leg{values, strings.TrimPrefix(l.label+", "+a.labels[i], ", ")})
			}
		}
		legs = next
	}
	if len(axes) == 0 {
		legs = nil
	}
	legs = d.exclude(legs, exclude)
	if len(legs)+len(include) > d.limits.legs() {
		d.tooManyLegs(m)
		return nil
	}
	for _, n := range include {
		legs = append(legs, d.wholeLeg(n, axes)...)
	}
	return legs
}

func (d *decoder) tooManyLegs(m *node) {
	d.add(tooManyLegs, m.at, "the matrix has more than %d legs", d.limits.legs()).
		Suggestion = "use fewer values, or list the legs that are needed; OTTO_MATRIX_LEGS sets the limit of an installation"
}

// axis reads the values of one dimension: a list, or a mapping whose keys are the labels of its values.
func (d *decoder) axis(name, n *node) axis {
	a := axis{name: name.text}
	switch n.kind {
	case listKind:
		for _, item := range n.items {
			a.values = append(a.values, matrixValue(item))
			a.labels = append(a.labels, legLabel(item))
		}
	case mappingKind:
		for _, p := range n.pairs {
			a.values = append(a.values, matrixValue(p.value))
			a.labels = append(a.labels, p.key.text)
		}
	default:
		d.want(n, listKind, fmt.Sprintf("the axis %q", name.text))
	}
	if len(a.values) == 0 && (n.kind == listKind || n.kind == mappingKind) {
		d.add(badMatrix, n.at, "the axis %q has no values", name.text).Suggestion = "remove it, or give it values"
	}
	return a
}

// wholeLeg reads a leg that is written out: { go: "1.26", os: linux }. Its label has the order of the axes, if there are any.
func (d *decoder) wholeLeg(n *node, axes []axis) []leg {
	if !d.want(n, mappingKind, "a leg of the matrix") {
		return nil
	}
	l := leg{values: map[string]any{}}
	for _, p := range n.pairs {
		if !d.axisName(p.key) {
			return nil
		}
		l.values[p.key.text] = matrixValue(p.value)
	}
	place := func(p pair) int {
		if i := slices.IndexFunc(axes, func(a axis) bool { return a.name == p.key.text }); i >= 0 {
			return i
		}
		return len(axes)
	}
	pairs := slices.SortedStableFunc(slices.Values(n.pairs), func(a, b pair) int { return place(a) - place(b) })
	labels := make([]string, 0, len(pairs))
	for _, p := range pairs {
		labels = append(labels, legLabel(p.value))
	}
	l.label = strings.Join(labels, ", ")
	return []leg{l}
}

func (d *decoder) axisName(key *node) bool {
	if paramName.MatchString(key.text) {
		return true
	}
	d.add(badMatrix, key.at, "%q cannot be the name of an axis", shorten(key.text, 60)).Suggestion = "use letters, digits and _, and no digit first"
	return false
}

// exclude removes the legs that have all values of an entry.
func (d *decoder) exclude(legs []leg, entries []*node) []leg {
	if len(entries) > d.limits.legs() {
		d.add(badMatrix, entries[0].at, "exclude has %d entries, more than a matrix may have legs", len(entries))
		return legs
	}
	for _, n := range entries {
		if !d.want(n, mappingKind, "an entry of exclude") {
			continue
		}
		want := make([]string, 0, len(n.pairs))
		for _, p := range n.pairs {
			want = append(want, fmt.Sprint(matrixValue(p.value)))
		}
		before := len(legs)
		legs = slices.DeleteFunc(legs, func(l leg) bool {
			for i, p := range n.pairs {
				if v, has := l.values[p.key.text]; !has || fmt.Sprint(v) != want[i] {
					return false
				}
			}
			return true
		})
		if len(legs) == before {
			d.add(uselessRule, n.at, "no leg of the matrix is like this entry of exclude").Suggestion = "remove it, or correct its values"
		}
	}
	return legs
}

// matrixValue is a value of an axis as expressions see it. Numbers stay what they are written as: 1.10 is no 1.1.
func matrixValue(n *node) any {
	v := n.plain()
	switch x := v.(type) {
	case json.Number:
		return asWritten(x)
	case map[string]any, []any:
		return withoutNumbers(v)
	}
	return v
}

// asWritten is a number if it reads as it is written: 0755 is no 755.
func asWritten(n json.Number) any {
	if i, err := n.Int64(); err == nil && strconv.FormatInt(i, 10) == n.String() {
		return i
	}
	return n.String()
}

func withoutNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return asWritten(v)
	case []any:
		for i := range v {
			v[i] = withoutNumbers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = withoutNumbers(v[key])
		}
	}
	return v
}

// legLabel names a value in the name of a leg: its text, or the name of a mapping.
func legLabel(n *node) string {
	switch {
	case n.isScalar() && strings.TrimSpace(n.text) == "":
		return strconv.Quote(n.text) // a name must show that there is a value
	case n.isScalar():
		return n.text
	}
	if p, ok := n.find("name"); ok && p.value.isScalar() {
		return p.value.text
	}
	text, err := json.Marshal(n.plain())
	if err != nil {
		return string(n.kind)
	}
	return shorten(string(text), stepNameWidth)
}
