package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// bind gives each parameter its value: the one that was given, or its default.
func (d *decoder) bind(decls []paramDecl, given map[string]any, at *node) map[string]any {
	out := map[string]any{}
	var names []string
	for _, p := range decls {
		names = append(names, p.name.text)
		v, isGiven := given[p.name.text]
		switch {
		case isGiven:
			value, err := p.read(v)
			if err != nil {
				d.add(badParamValue, p.name.at, "the parameter %s is given as %s: %v", p.name.text, shorten(inWords(v), 60), err)
			}
			out[p.name.text] = value
		case p.required.v && p.fallback == nil && d.checking:
			out[p.name.text] = p.example()
		case p.required.v && p.fallback == nil:
			d.add(missingParam, p.name.at, "the parameter %s is required, and not given", p.name.text).
				Suggestion = fmt.Sprintf("give it:  -p %s=…", p.name.text)
		case p.fallback != nil:
			out[p.name.text], _ = p.read(p.fallback.plain()) // what does not fit has been noted
		}
		if out[p.name.text] == nil {
			out[p.name.text] = p.zero()
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if slices.Contains(names, name) {
			continue
		}
		x := d.add(unknownParam, at.at, "the parameter %q is given, and the file does not declare it", shorten(name, 60))
		x.Suggestion = "it declares " + strings.Join(names, ", ")
		if len(names) == 0 {
			x.Suggestion = "declare it:  params: { " + name + ": { type: string } }"
		} else if near := nearest(name, names); near != "" {
			x.Suggestion = fmt.Sprintf("did you mean %q?", near)
		}
	}
	return out
}

// example is a value that stands for the one that a run must give, where only the file is checked.
func (p *paramDecl) example() any {
	if len(p.enum) > 0 {
		if v, err := p.convert(p.enum[0].plain()); err == nil {
			return v
		}
	}
	return p.zero()
}

// zero is the value of a parameter that nobody gives and that has no default.
func (p *paramDecl) zero() any {
	switch p.typ.v {
	case paramBoolean:
		return false
	case paramInteger:
		return int64(0)
	case paramNumber:
		return 0.0
	case paramList:
		return []any{}
	}
	return ""
}
