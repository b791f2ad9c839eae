package pipeline

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// A task that may add others does it in slots: the plan has as many tasks of the template as it may add, each of which waits for the
// task and runs if the fragment that its steps wrote has an entry for it. So what a run can do is in its plan, whatever a
// fragment says; a fragment gives values, and no work.

// fragmentOutput is the output that holds a fragment: a list of the inputs of each task to add.
const fragmentOutput = "fragment"

// maxAdded is how many tasks one task may add.
const maxAdded = 100

// mayAddDecl is the `may_add` of a task.
type mayAddDecl struct {
	template val[string]
	max      val[int]
}

func mayAddObject() object[mayAddDecl] {
	return object[mayAddDecl]{what: "may_add", doc: "Tasks that the steps of this one may add beside it, by writing the output fragment.", keys: []key[mayAddDecl]{
		{"template", "The template of the file that the tasks are made from.", nameType,
			func(d *decoder, m *mayAddDecl, _, v *node) { m.template = d.name(v, "a template") }},
		{"max", "How many tasks it may add, at most 100.", addedType,
			func(d *decoder, m *mayAddDecl, _, v *node) { m.max = d.added(v) }},
	}}
}

func (d *decoder) added(n *node) val[int] {
	if !d.want(n, numberKind, `"max"`) {
		return val[int]{}
	}
	v, err := strconv.Atoi(n.text)
	if err != nil || v < 1 || v > maxAdded {
		d.add(badMayAdd, n.at, "a task may add from 1 to %d tasks", maxAdded)
		return val[int]{}
	}
	return val[int]{v, n}
}

// slots makes the tasks that a task may add.
func (e *expander) slots(task *node) []*node {
	p, ok := task.find("may_add")
	if !ok || p.value.kind != mappingKind {
		return nil
	}
	said := decodeObject(e.decoder, e.lang.mayAdd, p.value)
	name, named := task.find("task")
	_, isMatrix := task.find("matrix")
	_, hasTemplate := p.value.find("template")
	_, hasMax := p.value.find("max")
	if !hasTemplate || !hasMax {
		e.add(missingKey, p.key.at, "may_add needs a template and a max").Suggestion = "write  may_add: { template: NAME, max: 10 }"
	}
	t := e.own.named[said.template.v]
	if t != nil {
		t.used = true
	}
	switch {
	case said.template.at == nil || said.max.at == nil || !named:
		return nil
	case t == nil:
		e.add(unknownTemplate, said.template.at.at, "there is no template %q in this file", shorten(said.template.v, 60))
		return nil
	case t.broken:
		return nil
	case isMatrix || name.value.dynamic:
		e.add(badMayAdd, p.key.at, "a task with a matrix, or with an expression in its name, cannot add tasks").Suggestion = "add them by a task of its own"
		return nil
	case t.form != formTask && t.form != formSteps:
		e.add(badMayAdd, said.template.at.at, "the template %q makes %s, and a task can add only tasks", t.name, formWords(t.form)).
			Suggestion = "give it task: or steps:"
		return nil
	}
	if when, has := t.body.find("when"); has {
		e.add(badMayAdd, when.key.at, "a task that is added runs if the fragment has it, and can have no condition of its own").Suggestion = "leave its entry out of the fragment"
		return nil
	}
	e.fragments[name.value.text] = fragmentInputs(t)
	return e.slotTasks(t, name.value, said)
}

// slotTasks makes one task for each entry that a fragment may have.
func (e *expander) slotTasks(t *templateDecl, name *node, said mayAddDecl) []*node {
	if !e.enter(t, said.template.at) {
		return nil
	}
	defer func() { e.stack = e.stack[:len(e.stack)-1] }()
	at := said.template.at
	text := func(format string, args ...any) *node {
		return &node{kind: stringKind, style: made, at: at.at, text: fmt.Sprintf(format, args...), size: 1}
	}
	entries := fmt.Sprintf("outputs[?%s].?%s.orValue([])", strconv.Quote(name.text), fragmentOutput)
	var out []*node
	for i := range said.max.v {
		values := map[string]*node{}
		for _, in := range t.inputs {
			v := text("${{ outputs[%s].%s[%d].%s }}", strconv.Quote(name.text), fragmentOutput, i, in.name.text)
			v.dynamic = true
			values[in.name.text] = v
		}
		body := e.make(t, at, values)
		if body == nil {
			return nil
		}
		needs := &node{kind: listKind, at: at.at, items: []*node{given(text("%s", name.text))}, size: 2}
		own := &node{kind: mappingKind, at: at.at, size: 1, pairs: []pair{
			{text("task"), given(text("%s %d", t.name, i+1))}, {text("needs"), needs}, {text("when"), text("%s.size() > %d", entries, i)},
		}}
		e.addedBy[own.pairs[0].value.text] = name.text
		out = append(out, e.merge(own, body, t, taskPosition()))
	}
	return out
}

// given marks a text that may_add gives: it stands nowhere in the file.
func given(n *node) *node {
	n.filled = true
	return n
}

// FragmentInput is an input of a template, as a plan keeps it to check fragments by.
type FragmentInput struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Default  any      `json:"default,omitempty"`
	Enum     []any    `json:"enum,omitempty"`
	Pattern  string   `json:"pattern,omitempty"`
	Min      *float64 `json:"min,omitempty"`
	Max      *float64 `json:"max,omitempty"`
	Required bool     `json:"required,omitempty"`
}

func fragmentInputs(t *templateDecl) []FragmentInput {
	var out []FragmentInput
	for _, in := range t.inputs {
		f := FragmentInput{Name: in.name.text, Type: in.typ.v, Pattern: in.pattern.v, Required: in.required.v}
		if in.fallback != nil {
			f.Default = withoutNumbers(in.fallback.plain())
		}
		for _, n := range in.enum {
			f.Enum = append(f.Enum, matrixValue(n))
		}
		if in.min.at != nil {
			f.Min = &in.min.v
		}
		if in.max.at != nil {
			f.Max = &in.max.v
		}
		out = append(out, f)
	}
	return out
}

// decl is the declaration that a plan has kept.
func (f FragmentInput) decl() paramDecl {
	somewhere := &node{}
	p := paramDecl{name: &node{text: f.Name}, typ: val[string]{f.Type, somewhere}}
	if f.Pattern != "" {
		p.pattern = val[string]{f.Pattern, somewhere}
		p.whole = wholly(f.Pattern)
	}
	for _, v := range f.Enum {
		p.enum = append(p.enum, valueNode(whole(v), somewhere))
	}
	if f.Min != nil {
		p.min = val[float64]{*f.Min, &node{text: fmt.Sprint(*f.Min)}}
	}
	if f.Max != nil {
		p.max = val[float64]{*f.Max, &node{text: fmt.Sprint(*f.Max)}}
	}
	return p
}

// Check reads a fragment by its declaration and gives its entries, with the defaults of what they do not say. An error says which
// entry is wrong, and how.
func (m *MayAdd) Check(fragment any) ([]any, error) {
	entries, ok := fragment.([]any)
	switch {
	case !ok:
		return nil, fmt.Errorf("a fragment is a list of objects, and this is %s", kindOf(fragment))
	case len(entries) > m.Max:
		return nil, fmt.Errorf("the fragment has %d entries, and the task may add %d", len(entries), m.Max)
	}
	out := make([]any, 0, len(entries))
	for i, entry := range entries {
		values, err := m.entry(entry)
		if err != nil {
			return nil, fmt.Errorf("entry %d of the fragment: %w", i+1, err)
		}
		out = append(out, values)
	}
	return out, nil
}

func (m *MayAdd) entry(entry any) (map[string]any, error) {
	given, ok := entry.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("it must be an object, and is %s", kindOf(entry))
	}
	out := map[string]any{}
	for _, in := range m.Inputs {
		p := in.decl()
		v, said := given[in.Name]
		switch {
		case said:
			value, err := p.read(whole(v))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", in.Name, err)
			}
			out[in.Name] = value
		case in.Required:
			return nil, fmt.Errorf("it does not say %s, which the template needs", in.Name)
		case in.Default != nil:
			out[in.Name] = whole(in.Default)
		default:
			out[in.Name] = p.zero()
		}
	}
	for _, name := range sortedKeys(given) {
		if _, known := out[name]; !known {
			return nil, fmt.Errorf("the template %s has no input %q", m.Template, shorten(name, 60))
		}
	}
	return out, nil
}

// CheckFragment checks the fragment among the outputs of a task, if its spec lets it add tasks, and puts the defaults in.
func CheckFragment(mayAdd json.RawMessage, outputs map[string]any) error {
	fragment, wrote := outputs[fragmentOutput]
	if !wrote || len(mayAdd) == 0 || string(mayAdd) == "null" {
		return nil
	}
	var m MayAdd
	if err := json.Unmarshal(mayAdd, &m); err != nil {
		return fmt.Errorf("read what the task may add: %w", err)
	}
	entries, err := m.Check(fragment)
	if err != nil {
		delete(outputs, fragmentOutput)
		return err
	}
	outputs[fragmentOutput] = entries
	return nil
}
