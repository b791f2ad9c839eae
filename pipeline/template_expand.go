package pipeline

import (
	"io/fs"
	"slices"
	"strings"
)

// The bounds of templates: with them, a file cannot stand for more than a plan can hold.
const (
	maxTemplateDepth = 8
	maxTemplateUses  = 1_000
	maxMadeNodes     = 200_000 // values that all uses make
	maxMadeBytes     = 16 << 20
)

// expander replaces each `use` in a tree of nodes by what its template makes, before the tree is decoded.
type expander struct {
	*decoder
	facts     Facts
	own       *templateFile // the Ottofile
	files     map[string]*templateFile
	fileBytes int

	stack []*templateDecl // the templates that are being made, from the outermost
	uses  int
	nodes int
	bytes int

	lock      *Lock // nil until it is needed
	hasLock   bool
	badLock   bool
	resolving bool // otto.lock is being made, and does not count
	resolved  map[string]LockEntry
	missing   []Remote
}

func newExpander(d *decoder, f File, facts Facts) *expander {
	at := f.Name
	if !fs.ValidPath(at) {
		at = "Ottofile.yaml" // a name for people only: the tree starts beside the file
	}
	d.fragments, d.addedBy = map[string][]FragmentInput{}, map[string]string{}
	own := &templateFile{src: d.src, from: templateSource{Remote{Path: at}}, named: map[string]*templateDecl{}}
	return &expander{decoder: d, facts: facts, own: own, files: map[string]*templateFile{}, resolved: map[string]LockEntry{}}
}

// expandTemplates gives the tree of an Ottofile without its uses of templates.
func expandTemplates(d *decoder, root *node, f File, facts Facts) *node {
	out := newExpander(d, f, facts).file(root)
	d.dynamic = out.dynamic
	return out
}

// file expands an Ottofile.
func (e *expander) file(root *node) *node {
	if root.kind != mappingKind {
		return root
	}
	if p, ok := root.find("templates"); ok {
		e.addTemplates(e.own, p.value)
	}
	out := e.each(root, func(p pair) *node {
		switch p.key.text {
		case "stages", "always", "on_failure":
			return e.items(p.value, stagePosition())
		case "steps":
			return e.items(p.value, stepPosition())
		}
		return p.value
	})
	if !e.resolving {
		e.hintUnused()
	}
	return out
}

// hintUnused notes the templates that nobody uses. They are not checked beyond their form.
func (e *expander) hintUnused() {
	for _, t := range e.own.order {
		if !t.used && !t.broken {
			e.add(unusedTemplate, t.key.at, "the template %q is never used", t.name).Suggestion = "use it, or remove it"
		}
	}
}

// position is a place where a use may stand.
type position struct {
	what    string
	merges  []string // the forms whose keys join those of the use
	splices string   // the form whose list takes the place of the use
}

func stagePosition() position {
	return position{"a stage", []string{formStage, formTask, formTasks, formSteps}, formStages}
}

func taskPosition() position { return position{"a task", []string{formTask, formSteps}, formTasks} }

func stepPosition() position { return position{"a step", nil, formSteps} }

// each replaces the values of a mapping. What nobody changes stays the same node: most files use no templates.
func (e *expander) each(n *node, value func(pair) *node) *node {
	var out *node
	for i, p := range n.pairs {
		v := value(p)
		if v == p.value {
			continue
		}
		if out == nil {
			copied := *n
			copied.pairs = slices.Clone(n.pairs)
			out = &copied
		}
		out.pairs[i].value = v
	}
	if out == nil {
		return n
	}
	out.seeDynamic()
	return out
}

// items expands a list.
func (e *expander) items(list *node, at position) *node {
	if list.kind != listKind {
		return list
	}
	var out []*node
	changed := false
	for _, item := range list.items {
		made := e.item(item, at)
		before := len(out)
		out = append(out, made...)
		if at.splices == formTasks {
			for _, task := range made {
				out = append(out, e.slots(task)...)
			}
		}
		changed = changed || len(out) != before+1 || made[0] != item
	}
	if !changed {
		return list
	}
	copied := *list
	copied.items = out
	copied.seeDynamic()
	return &copied
}

// item expands an entry of a list: it becomes one, or as many as its template makes.
func (e *expander) item(n *node, at position) []*node {
	if n.kind != mappingKind {
		return []*node{n}
	}
	use, ok := n.find("use")
	if !ok {
		if with, lost := n.find("with"); lost {
			e.add(missingKey, with.key.at, `"with" needs "use"`).Suggestion = "name the template: use: NAME"
		}
		return []*node{e.inside(n)}
	}
	broken := []*node{brokenAt(n)}
	t := e.lookup(use.value)
	if t == nil || t.broken || !e.mayStand(n, t, use.value, at) || !e.enter(t, use.value) {
		return broken
	}
	defer func() { e.stack = e.stack[:len(e.stack)-1] }()
	with, _ := n.find("with")
	values, ok := e.bind(t, use.value, with.value)
	if !ok {
		return broken
	}
	made := e.make(t, use.value, values)
	if made == nil {
		return broken
	}
	if t.form == at.splices {
		return e.items(made, at).items
	}
	return e.item(e.merge(n, made, t, at), at)
}

// inside expands the lists within a stage or a task.
func (e *expander) inside(n *node) *node {
	return e.each(n, func(p pair) *node {
		switch p.key.text {
		case "parallel", "fanout", "linear", "tasks":
			return e.items(p.value, taskPosition())
		case "steps":
			return e.items(p.value, stepPosition())
		}
		return p.value
	})
}

// mayStand refuses a template where what it makes has no place.
func (e *expander) mayStand(n *node, t *templateDecl, use *node, at position) bool {
	if t.form == at.splices {
		for _, p := range n.pairs {
			if p.key.text != "use" && p.key.text != "with" {
				e.add(misplacedTemplate, p.key.at, "%q has nothing to say here: the template %q makes a list of %s", p.key.text, t.name, t.form).
					Suggestion = "make it an input of the template"
				return false
			}
		}
		return true
	}
	if slices.Contains(at.merges, t.form) {
		return true
	}
	e.add(misplacedTemplate, use.at, "the template %q makes %s, and this is %s", t.name, formWords(t.form), at.what)
	return false
}

func formWords(form string) string {
	switch form {
	case formTask, formStage:
		return "a " + form
	}
	return form
}

// enter begins a use of a template, as long as there are not too many of them in one another.
func (e *expander) enter(t *templateDecl, use *node) bool {
	var path []string
	for _, outer := range e.stack {
		path = append(path, outer.name)
	}
	path = append(path, t.name)
	if i := slices.Index(e.stack, t); i >= 0 {
		e.add(templateCycle, use.at, "the template uses itself: %s", strings.Join(path[i:], " -> ")).
			Suggestion = "a template cannot end if it is part of itself"
		return false
	}
	if len(e.stack) == maxTemplateDepth {
		e.add(templateBounds, use.at, "templates are nested more than %d deep: %s", maxTemplateDepth, strings.Join(path, " -> "))
		return false
	}
	if e.uses++; e.uses > maxTemplateUses {
		if e.uses == maxTemplateUses+1 {
			e.add(templateBounds, use.at, "templates are used more than %d times", maxTemplateUses)
		}
		return false
	}
	e.stack = append(e.stack, t)
	return true
}

// make gives the body of a template with the values of its inputs in it; nil after a problem.
func (e *expander) make(t *templateDecl, use *node, values map[string]*node) *node {
	c := copier{expander: e, use: use, in: &frame{file: t.file, template: t.name, used: use.at, inputs: values}, seats: map[*frame]map[span]*frame{}}
	made := c.node(t.body, "")
	if e.spent() {
		return nil
	}
	want := listKind
	if t.form == formTask || t.form == formStage {
		want = mappingKind
	}
	if !e.want(made, want, `"`+t.form+`" of the template`) {
		return nil
	}
	return made
}

// charge counts what is made, and stops at the bounds.
func (e *expander) charge(use *node, nodes, bytes int) bool {
	if e.spent() {
		return false
	}
	e.nodes += nodes
	e.bytes += bytes
	if e.spent() {
		e.add(templateBounds, use.at, "templates make too much: at most %d values and %d bytes of text", maxMadeNodes, maxMadeBytes)
	}
	return !e.spent()
}

// spent tells whether templates have made more than they may.
func (e *expander) spent() bool { return e.nodes > maxMadeNodes || e.bytes > maxMadeBytes }

// merge joins a use with what its template makes: what the use says itself wins, and variables are joined one by one.
func (e *expander) merge(use, made *node, t *templateDecl, at position) *node {
	out := &node{kind: mappingKind, at: use.at, size: 1}
	for _, p := range use.pairs {
		if p.key.text != "use" && p.key.text != "with" {
			out.pairs = append(out.pairs, p)
		}
	}
	switch {
	case t.form == formSteps || t.form == formTasks:
		key := &node{kind: stringKind, text: t.form, at: made.at, size: 1}
		made = &node{kind: mappingKind, at: made.at, pairs: []pair{{key, made}}}
	case t.form == formTask && slices.Contains(at.merges, formStage):
		made = renamed(made, "task", "stage")
	}
	for _, p := range made.pairs {
		i := slices.IndexFunc(out.pairs, func(own pair) bool { return own.key.text == p.key.text })
		switch {
		case i >= 0 && p.key.text == "env" && p.value.kind == mappingKind && out.pairs[i].value.kind == mappingKind:
			out.pairs[i].value = joined(out.pairs[i].value, p.value)
		case i < 0 && !(isName(p.key.text) && slices.ContainsFunc(out.pairs, func(own pair) bool { return isName(own.key.text) })):
			out.pairs = append(out.pairs, p)
		}
	}
	out.seeDynamic()
	return out
}

// isName tells the keys that name a stage or a task.
func isName(key string) bool { return key == "stage" || key == "task" || key == "name" }

// renamed gives a mapping with another name for a key.
func renamed(n *node, from, to string) *node {
	out := *n
	out.pairs = slices.Clone(n.pairs)
	for i, p := range out.pairs {
		if p.key.text == from {
			key := *p.key
			key.text = to
			out.pairs[i].key = &key
		}
	}
	return &out
}

// joined adds the entries of another mapping that a mapping does not have.
func joined(own, other *node) *node {
	out := *own
	out.pairs = slices.Clone(own.pairs)
	for _, p := range other.pairs {
		if _, has := own.find(p.key.text); !has {
			out.pairs = append(out.pairs, p)
		}
	}
	out.seeDynamic()
	return &out
}
