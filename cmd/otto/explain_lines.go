package main

import (
	"strings"

	"golang.org/x/term"

	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/pipeline/show"
)

// mark is a verdict as one character.
func (v *outlineView) mark(verdict pipeline.Verdict) string {
	switch verdict {
	case pipeline.VerdictFalse:
		return v.style.dim("○")
	case pipeline.VerdictLater:
		return v.style.paint("33", "◐")
	}
	return v.style.paint("36", "●")
}

// head writes the first lines of a stage or a task: its name, what is briefly said of it, and what decides whether it runs.
func (v *outlineView) head(depth int, mark, name string, item *show.Item) {
	if v.all {
		v.origin(indent(depth)+mark+" "+name, item.Pointer+"/name")
	} else {
		v.WriteString(v.wrapped(indent(depth)+mark+" ", v.brief(name, item), v.style.dim(" · ")))
	}
	v.why(depth, item)
	if item.Verdict != pipeline.VerdictFalse || v.all {
		v.facts(depth+1, item.Facts)
	}
}

// brief is a name and what is briefly said of it.
func (v *outlineView) brief(name string, item *show.Item) []string {
	parts := []string{name}
	for _, f := range item.Facts {
		if f.Weight == show.Brief && (item.Verdict != pipeline.VerdictFalse || f.Name == "state") {
			parts = append(parts, v.style.dim(f.Text))
		}
	}
	return parts
}

// why says what decides.
func (v *outlineView) why(depth int, item *show.Item) {
	if item.Why == "" {
		return
	}
	text := v.style.paint(map[pipeline.Verdict]string{pipeline.VerdictFalse: "2", pipeline.VerdictLater: "33"}[item.Verdict], item.Why)
	if item.Verdict == pipeline.VerdictTrue {
		text = item.Why
	}
	v.keyed(depth, "when", text)
}

// keyed writes a line with its key.
func (v *outlineView) keyed(depth int, key, text string) {
	at := indent(depth+1) + v.style.dim(pad(key, keyWidth)) + " "
	v.WriteString(v.wrapped(at, strings.Split(text, " "), " "))
}

// facts writes what has a line of its own, and what shares one with those of its name; with all, each value and its origin.
func (v *outlineView) facts(depth int, facts []show.Fact) {
	for i := 0; i < len(facts); i++ {
		f := facts[i]
		switch {
		case v.all:
			if f.Pointer != "" {
				text := f.Text
				if f.Weight == show.Line || f.Weight == show.Joined || f.Name == "env" {
					text = f.Name + " " + text
				}
				v.origin(indent(depth)+text, f.Pointer)
			}
		case f.Weight == show.Line:
			v.keyed(depth-1, f.Name, f.Text)
		case f.Weight == show.Joined:
			parts := []string{f.Text}
			for i+1 < len(facts) && facts[i+1].Weight == show.Joined && facts[i+1].Name == f.Name {
				i++
				parts = append(parts, facts[i].Text)
			}
			v.WriteString(v.wrapped(indent(depth)+v.style.dim(pad(f.Name, keyWidth))+" ", parts, ", "))
		}
	}
}

// originColumn is where origins stand, if the value leaves room.
const originColumn = 56

// origin writes a value and where it comes from.
func (v *outlineView) origin(text, ptr string) {
	v.WriteString(text)
	if o, ok := v.plan.Origins[ptr]; ok {
		v.WriteString(strings.Repeat(" ", max(1, originColumn-width(text))) + " " + v.style.dim(show.OriginText(o)))
	}
	v.WriteByte('\n')
}

// wrapped writes parts in a row, in more lines if the terminal is too narrow; these begin below the first part.
func (v *outlineView) wrapped(start string, parts []string, between string) string {
	var b strings.Builder
	b.WriteString(start)
	margin := width(start)
	at := margin
	for i, part := range parts {
		w := width(part)
		if i > 0 {
			if v.width > 0 && at+width(between)+w > v.width && at > margin {
				b.WriteString(strings.TrimRight(stripColours(between), " ·") + "\n" + strings.Repeat(" ", margin))
				at = margin
			} else {
				b.WriteString(between)
				at += width(between)
			}
		}
		b.WriteString(part)
		at += w
	}
	b.WriteByte('\n')
	return b.String()
}

// short cuts a line to the width of the terminal, without its colours if it must.
func (v *outlineView) short(line string) string {
	if v.width <= 0 || width(line) <= v.width {
		return line
	}
	return string([]rune(stripColours(line))[:max(v.width-1, 0)]) + "…"
}

func indent(depth int) string { return strings.Repeat("  ", depth) }

// stdoutWidth is how wide the terminal is that the output goes to; 0 if it goes elsewhere.
func (a *app) stdoutWidth() int {
	f, ok := a.stdout.(interface{ Fd() uintptr })
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return columns
}
