package pipeline

import (
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// globs are patterns of names or paths, in order; the last that matches decides, and "!" in front of it says no.
type globs []val[string]

// The bounds of patterns: alternatives ({a,b}{c,d}…) are tried one after the other, for each path.
const (
	maxPatterns     = 100 // of one list
	maxPatternBytes = 1000
	maxAlternatives = 100
)

// validPattern tells whether a text is a pattern that is quick to try.
func validPattern(p string) bool {
	if len(p) > maxPatternBytes || !doublestar.ValidatePattern(p) {
		return false
	}
	total, open := 1, []int{}
	for i := 0; i < len(p) && total <= maxAlternatives; i++ {
		n := len(open)
		switch {
		case p[i] == '\\':
			i++
		case p[i] == '{':
			open = append(open, 1)
		case p[i] == ',' && n > 0:
			open[n-1]++
		case p[i] == '}' && n > 0:
			total, open = total*open[n-1], open[:n-1]
		}
	}
	return total <= maxAlternatives
}

// globList reads one glob or a list of them.
func (d *decoder) globList(n *node, what string) globs {
	items := n.items
	if n.kind != listKind {
		items = []*node{n}
	}
	out := globs{}
	for _, item := range items {
		v, ok := d.str(item, what)
		if !ok {
			continue
		}
		if !validPattern(strings.TrimPrefix(v.v, "!")) || strings.Trim(v.v, "!") == "" {
			d.add(badGlob, item.at, "%q is not a pattern", shorten(v.v, 60)).Suggestion = `write a name, or * for any part of one, ** for any parts: release/**`
			continue
		}
		out = append(out, v)
	}
	if len(out) > maxPatterns {
		d.add(badGlob, n.at, "the list has %d patterns; at most %d are read", len(out), maxPatterns)
	}
	if len(items) == 0 {
		d.add(badGlob, n.at, "the list of %s is empty, so it would match nothing", plural(what)).Suggestion = "remove it to match all"
	}
	return out
}

func plural(what string) string {
	word := strings.TrimPrefix(what, "a ")
	if strings.HasSuffix(word, "ch") {
		return word + "es"
	}
	return word + "s"
}

// match tells whether a name passes. Where all patterns say no, what none of them matches passes.
func (g globs) match(name string) bool {
	pass := len(g) > 0
	for _, p := range g {
		pass = pass && strings.HasPrefix(p.v, "!")
	}
	for _, p := range g {
		pattern, no := strings.CutPrefix(p.v, "!")
		if ok, err := doublestar.Match(pattern, name); ok && err == nil {
			pass = !no
		}
	}
	return pass
}

// words lists the patterns for a message.
func (g globs) words() string {
	out := make([]string, 0, len(g))
	for _, p := range g {
		out = append(out, p.v)
	}
	return strings.Join(out, ", ")
}
