package pipeline

import "cel.dev/cel-go/common/types"

// File is an Ottofile as it was read; Name is what diagnostics call it.
type File struct {
	Name string
	Data []byte
}

// Compile turns an Ottofile into its plan for an event and parameters. The plan is nil if and only if the diagnostics have an
// error; they hold all problems of the file at once, as far as one does not hide the others.
func Compile(f File, facts Facts) (*Plan, Diagnostics) {
	r := newReport(newSource(f.Name, ""))
	root := parse(r, f.Data)
	if root == nil {
		return nil, r.sorted()
	}
	d := &decoder{report: r, lang: newLanguage(), limits: facts.Limits, checking: facts.Checking, dynamic: root.dynamic, paramsUsed: map[string]bool{}}
	if facts.Event.Kind == "" {
		facts.Event.Kind = EventManual
	}
	inputs := &Inputs{Event: facts.Event}
	if !d.begin(root, facts, inputs) {
		return nil, r.sorted()
	}
	root = expandTemplates(d, root, f, facts)
	body, inner := d.open(root, d.scope)
	d.checkFileEnv(body)
	d.scope = inner
	file := decodeObject(d, d.lang.file, body)
	d.checkFile(root, &file)
	if r.hasErrors() {
		return nil, r.sorted()
	}
	l := newLowering(r)
	l.fragments, l.addedBy = d.fragments, d.addedBy
	l.inputs, l.given, l.trigger = inputs, facts.Params, file.on.trigger(inputs.Event)
	plan := l.plan(&file)
	if r.hasErrors() {
		return nil, r.sorted()
	}
	lintFile(r, &file, plan)
	lintDeclared(d, &file)
	return plan, r.sorted()
}

// begin reads the parameters, and makes the language of expressions from them.
func (d *decoder) begin(root *node, facts Facts, inputs *Inputs) bool {
	at := root
	if p, ok := root.find("params"); ok {
		at = p.key
		d.declared = d.params(p.value)
	}
	problems := d.noted()
	inputs.Params = d.bind(d.declared, facts.Params, at)
	if len(facts.Params) > 0 && d.noted() > problems {
		return false // what else is wrong may be so only without the values that were meant
	}
	types := map[string]*types.Type{}
	for i := range d.declared {
		types[d.declared[i].name.text] = d.declared[i].celType()
	}
	look := &sourceLook{event: facts.Event, tree: facts.Tree, hashes: map[string]string{}, known: facts.Hashes}
	var err error
	if d.exprs, err = newExprs(types, fileFunctions{changed: look.changed, hash: look.hash}); err != nil {
		d.add(exprFailed, root.at, "%v", err)
		return false
	}
	inputs.Hashes = look.hashes
	e := facts.Event
	d.scope = &scope{lateRoot: []string{nameOutputs, nameStatus}, known: map[string]any{
		nameParams: inputs.Params, nameEvent: e.values(), nameBranch: e.Branch, nameTag: e.Tag, nameSHA: e.SHA, nameRef: e.ref(),
		nameMatrix: map[string]any{}, nameEnv: map[string]string{}, nameEnvironment: "",
	}}
	return true
}

// checkFileEnv refuses variables of all tasks that only the run knows: no task has ended before the first one.
func (d *decoder) checkFileEnv(root *node) {
	env, ok := root.find("env")
	if !ok {
		return
	}
	for _, p := range env.value.pairs {
		if p.value.late != "" {
			d.add(exprLater, p.value.at, "the variable %s of the file would need what only the run knows", p.key.text).
				Suggestion = "write it in the tasks that need it"
		}
	}
}

// FindOttofile picks the Ottofile from the names of the files in a directory.
func FindOttofile(names []string) (string, bool) {
	for _, want := range []string{"Ottofile.yaml", "Ottofile.yml", "Ottofile"} {
		for _, name := range names {
			if name == want {
				return want, true
			}
		}
	}
	return "", false
}
