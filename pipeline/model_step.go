package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

func (d *modelReader) step(n *node, p *Plan, t *Task, path, ptr string) Step {
	f := d.fields(n, path, "uuid", "context", "symbol", "parameters")
	s := Step{UUID: d.uuid(f["uuid"], path+".uuid", ptr+"/uuid")}
	note := modelNote{orphan: d.isOrphan(f["context"], p, t, path)}
	d.script(&s, f, n, &note, path)
	o := &d.origins
	if note.symbol != "" {
		o.say(ptr+"/sh", d.parameter(f["parameters"]))
		at := o.at[ptr+"/sh"]
		at.Note = note.String()
		o.at[ptr+"/sh"] = at
	}
	o.fallback(ptr+"/name", originConvention, noteStepName)
	if note.symbol == "echo" {
		o.fallback(ptr+"/name", originConvention, noteEchoName)
	}
	s.ExitCodes = map[string]string{}
	for _, x := range defaultExits() {
		s.ExitCodes[x.code] = x.outcome
		o.fallback(ptr+"/exit_codes/"+x.code, originDefault, fmt.Sprintf(noteExit, x.code, x.outcome))
	}
	return s
}

// isOrphan tells whether a step names the pipeline as its context, as the ancestor's parser writes steps outside stages.
func (d *modelReader) isOrphan(n *node, p *Plan, t *Task, path string) bool {
	if n == nil || n.kind == nullKind || n.kind == brokenKind {
		return false
	}
	id, err := uuid.Parse(n.text)
	switch {
	case n.kind == stringKind && err == nil && t.UUID == id.String():
		return false
	case n.kind == stringKind && err == nil && p.UUID == id.String():
		return true
	}
	d.add(foreignContext, n.at, "%s.context is %q, which is neither its context nor the pipeline", path, shorten(n.text, 60))
	return false
}

// script turns symbol and parameters into what a shell runs.
func (d *modelReader) script(s *Step, f map[string]*node, n *node, note *modelNote, path string) {
	symbols := modelSymbols()
	var names []string
	for _, known := range symbols {
		names = append(names, known.name)
	}
	named := f["symbol"]
	if named == nil {
		if n.kind == mappingKind {
			d.add(badModel, n.at, "%s has no symbol", path).Suggestion = "the steps are " + strings.Join(names, " and ")
		}
		return
	}
	i := slices.Index(names, named.text)
	if i < 0 {
		d.add(unknownSymbol, named.at, "%s.symbol is %q, which is unknown", path, shorten(named.text, 60)).
			Suggestion = "the steps are " + strings.Join(names, " and ")
		return
	}
	value, keyword, ok := d.parameters(symbols[i], f["parameters"], n, path)
	if !ok {
		return
	}
	note.symbol, note.parameter = names[i], keyword
	s.Sh = symbols[i].script(value.text)
	s.Name = stepName(s.Sh)
	switch note.symbol {
	case "sh":
		if strings.TrimSpace(s.Sh) == "" {
			d.add(emptyScript, value.at, "%s runs nothing", path)
		}
		d.checkExpr(value)
	case "echo":
		s.Name = stepName("echo " + value.text)
	}
}

// parameters gives the one parameter of a step, and how it was given.
func (d *modelReader) parameters(symbol modelSymbol, n, step *node, path string) (value *node, keyword string, ok bool) {
	want := fmt.Sprintf("%s takes one: [%q] or {%q: …}", symbol.name, strings.ToUpper(symbol.keywords[0]), symbol.keywords[0])
	switch {
	case n == nil || n.kind == nullKind:
		at := step.at
		if n != nil {
			at = n.at
		}
		d.add(badParameters, at, "%s.parameters is missing", path).Suggestion = want
		return nil, "", false
	case n.kind == brokenKind:
		return nil, "", false
	case n.kind != listKind && n.kind != mappingKind:
		d.add(badParameters, n.at, "%s.parameters must be a list or a mapping, and is %s", path, n.kind).Suggestion = want
		return nil, "", false
	}
	for _, p := range n.pairs {
		if !slices.Contains(symbol.keywords, p.key.text) {
			d.add(badParameters, p.key.at, "%s.parameters has an unknown %q", path, shorten(p.key.text, 60)).Suggestion = want
			return nil, "", false
		}
		keyword = p.key.text
	}
	if count := len(n.items) + len(n.pairs); count != 1 {
		d.add(badParameters, n.at, "%s.parameters has %d entries", path, count).Suggestion = want
		return nil, "", false
	}
	value = d.parameter(n)
	if keyword == "" {
		keyword = positional
	}
	if value.kind != stringKind {
		if value.kind != brokenKind {
			d.add(badParameters, value.at, "%s.parameters must be text, and is %s", path, value.kind).Suggestion = want
		}
		return nil, "", false
	}
	return value, keyword, true
}

// parameter is the first value of a list or mapping.
func (d *modelReader) parameter(n *node) *node {
	if n.kind == listKind {
		return n.items[0]
	}
	return n.pairs[0].value
}
