package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// templateDecl is a typed, reusable part of an Ottofile.
type templateDecl struct {
	name   string        // as uses call it
	file   *templateFile // the file it stands in
	key    *node         // its name, or the file's root
	inputs []paramDecl
	form   string // the key that says what it makes: one of templateForms
	body   *node
	extra  *node // the key of a second body
	used   bool
	broken bool // its problem is in the report already
}

// The keys that say what a template makes.
const (
	formTask   = "task"
	formTasks  = "tasks"
	formStage  = "stage"
	formStages = "stages"
	formSteps  = "steps"
)

func templateForms() []string { return []string{formTask, formTasks, formStage, formStages, formSteps} }

// templateFile is a file, as far as uses in it see: its own templates, and where its relative paths start.
type templateFile struct {
	src   *source
	from  templateSource
	named map[string]*templateDecl
	order []*templateDecl // the same, as they stand there
	root  *templateDecl   // of a template file
}

// templateObject describes a template.
func templateObject() object[templateDecl] {
	body := func(d *decoder, t *templateDecl, k, v *node) {
		if t.body != nil {
			t.extra = k
			return
		}
		t.form, t.body = k.text, v
	}
	return object[templateDecl]{what: "a template", doc: "A typed, reusable part of an Ottofile. It makes one task or stage, or a list of tasks, stages or steps.",
		keys: []key[templateDecl]{
			{"inputs", "What a use of the template may, or must, say below `with`. `${{ inputs.NAME }}` stands for the value.", inputsType,
				func(d *decoder, t *templateDecl, _, v *node) { t.inputs = d.inputs(v) }},
			{formTask, "The task that the template makes.", taskBodyType, body},
			{formTasks, "The tasks that the template makes.", laxly(tasksType), body},
			{formStage, "The stage that the template makes.", stageBodyType, body},
			{formStages, "The stages that the template makes.", laxly(stagesType), body},
			{formSteps, "The steps that the template makes.", laxly(stepsType), body},
		}}
}

var templateName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// templates reads the section of that name.
func (d *decoder) templates(n *node, s *templateFile) []*templateDecl {
	if !d.want(n, mappingKind, "templates") {
		return nil
	}
	var out []*templateDecl
	for _, p := range n.pairs {
		if !templateName.MatchString(p.key.text) || len(p.key.text) > maxName {
			d.add(badTemplate, p.key.at, "%q cannot be the name of a template", shorten(p.key.text, 60)).
				Suggestion = "use letters, digits, _, . and -"
			continue
		}
		t := d.template(p.key, p.value, s)
		t.name = p.key.text
		out = append(out, t)
	}
	return out
}

// template reads one template: below its name, or as the root of a file.
func (d *decoder) template(key, n *node, s *templateFile) *templateDecl {
	problems := d.noted()
	t := decodeObject(d, d.lang.template, n)
	t.file, t.key = s, key
	forms := strings.Join(templateForms(), ", ")
	switch {
	case n.kind != mappingKind:
	case t.extra != nil:
		d.add(badTemplate, t.extra.at, "a template makes one thing: %q and %q exclude each other", t.form, t.extra.text)
	case t.body == nil && d.allKnown(n, d.lang.template.names()):
		d.add(badTemplate, key.at, "the template makes nothing").Suggestion = "give it one of " + forms
	case t.body != nil:
		d.checkBody(&t)
	}
	t.broken = t.body == nil || d.noted() > problems
	if !t.broken {
		d.checkInputs(&t)
	}
	return &t
}

// checkBody refuses what can never become what the template says it makes.
func (d *decoder) checkBody(t *templateDecl) {
	want := listKind
	if t.form == formTask || t.form == formStage {
		want = mappingKind
	}
	if t.body.kind == stringKind && t.body.dynamic {
		return
	}
	if d.want(t.body, want, fmt.Sprintf("%q of a template", t.form)) && want == listKind && len(t.body.items) == 0 && t.form != formStages {
		d.add(badTemplate, t.body.at, "the template makes nothing: its list of %s is empty", t.form)
	}
}

// checkInputs looks for inputs that the body does not know, and those that it does not use.
func (d *decoder) checkInputs(t *templateDecl) {
	var names []string
	for _, in := range t.inputs {
		names = append(names, in.name.text)
	}
	said := map[string]bool{}
	eachScalar(t.body, func(n *node) {
		for _, m := range someInput.FindAllStringSubmatchIndex(n.text, -1) {
			name := n.text[m[2]:m[3]]
			said[name] = true
			if slices.Contains(names, name) || !strings.Contains(n.text, "${{") {
				continue
			}
			x := d.add(unknownInput, d.inText(n, m[0], m[1]-m[0]), "the template has no input %q", shorten(name, 60))
			if near := nearest(name, names); near != "" {
				x.Suggestion = fmt.Sprintf("did you mean %q?", near)
			} else {
				x.Suggestion = "declare it: inputs: { " + shorten(name, 60) + ": { type: string } }"
			}
			t.broken = true
		}
	})
	for _, in := range t.inputs {
		if !said[in.name.text] {
			d.add(unusedInput, in.name.at, "the template does not use its input %q", in.name.text)
		}
	}
}

// someInput finds what an expression, or a condition, reads of the inputs. It finds more in texts that happen to look so.
var someInput = regexp.MustCompile(`\binputs\.([A-Za-z_][A-Za-z0-9_]*)`)

// eachScalar visits the texts below a node.
func eachScalar(n *node, visit func(*node)) {
	if n.isScalar() {
		visit(n)
	}
	for _, p := range n.pairs {
		eachScalar(p.value, visit)
	}
	for _, item := range n.items {
		eachScalar(item, visit)
	}
}
