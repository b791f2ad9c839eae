package pipeline

import (
	"slices"
	"strconv"
	"strings"
)

// The bounds of a plan: beyond them, a run cannot be shown, and its tables are no longer quick.
const (
	maxTasks = 10_000
	maxSteps = 20_000
)

func (d *decoder) stageList(k, n *node) []stageDecl {
	var out []stageDecl
	d.list(n, strconv.Quote(k.text), func(item *node) { out = append(out, d.stage(item)) })
	return out
}

func (d *decoder) stage(n *node) stageDecl {
	s := decodeObject(d, d.lang.stage, n)
	s.task.name = s.stage
	if n.kind == mappingKind && d.allKnown(n, d.lang.stage.names()) {
		d.checkStage(n, &s)
	}
	return s
}

// allKnown tells whether a mapping has only these keys. What an object lacks is noted only then: usually it is there,
// with a typo that has been noted already.
func (d *decoder) allKnown(n *node, names []string) bool {
	return !slices.ContainsFunc(n.pairs, func(p pair) bool { return !slices.Contains(names, p.key.text) })
}

// form reads the tasks of a stage; which key they stand below says their mode.
func (d *decoder) form(s *stageDecl, m Mode, k, v *node) {
	if s.listed != nil {
		d.add(conflictingKeys, k.at, "a stage has one list of tasks: %q and %q exclude each other", s.listed.text, k.text)
		return
	}
	s.listed = k
	if m != "" {
		s.form = val[Mode]{m, k}
	}
	d.list(v, strconv.Quote(k.text), func(item *node) { s.tasks = append(s.tasks, d.task(item)) })
	if v.kind == listKind && len(v.items) == 0 {
		d.add(nothingToRun, k.at, "the stage has no tasks").Suggestion = "add a task, or remove the stage"
	}
}

// checkStage notes what the keys of a stage say together.
func (d *decoder) checkStage(n *node, s *stageDecl) {
	if s.listed == nil {
		d.checkSingle(n, s)
		return
	}
	_, hasStage := n.find("stage")
	if p, both := n.find("name"); both && hasStage {
		d.add(conflictingKeys, p.key.at, `"stage" and "name" both name the stage`).Suggestion = "keep one of them"
	}
	if p, ok := n.find("mode"); ok && s.form.at != nil {
		d.add(conflictingKeys, p.key.at, `"mode" and %q both say how the tasks run`, s.listed.text).
			Suggestion = `keep one of them, or write "tasks:" below "mode:"`
	}
	for _, p := range n.pairs {
		switch {
		case p.key.text == "steps":
			d.add(conflictingKeys, p.key.at, `a stage has steps or tasks: "steps" and %q exclude each other`, s.listed.text).
				Suggestion = "make the steps a task of their own"
		case p.key.text != "always" && slices.Contains(d.lang.task.names(), p.key.text):
			d.add(misplacedKey, p.key.at, "%q belongs in a task, and this stage is a list of tasks", p.key.text).
				Suggestion = "write it in each task that needs it"
		}
	}
}

// checkSingle looks at a stage that is one task.
func (d *decoder) checkSingle(n *node, s *stageDecl) {
	p, hasSteps := n.find("steps")
	mode, hasMode := n.find("mode")
	_, hasStage := n.find("stage")
	switch {
	case hasMode && !hasSteps:
		d.add(missingKey, mode.key.at, `"mode" needs "tasks"`).Suggestion = "list the tasks of the stage below tasks:"
	case hasMode:
		d.add(conflictingKeys, mode.key.at, `"mode" is for a stage with tasks, and this one has steps`).Suggestion = "remove it"
	case !hasSteps:
		d.add(nothingToRun, n.at, "the stage has neither steps nor tasks").
			Suggestion = "add steps: [{sh: …}], or a list of tasks below parallel: or fanout:"
	default:
		d.checkSteps(p, "the stage")
	}
	if hasStage {
		if p, both := n.find("name"); both {
			d.add(conflictingKeys, p.key.at, `"stage" and "name" both name the stage`).Suggestion = `keep "stage"`
		}
		return
	}
	if hasSteps {
		d.add(missingKey, n.at, "a stage with steps needs a name").Suggestion = "start it with stage: NAME"
	}
}

func (d *decoder) checkSteps(p pair, owner string) {
	if p.value.kind == listKind && len(p.value.items) == 0 {
		d.add(nothingToRun, p.key.at, "%s has no steps", owner).Suggestion = "add a step: {sh: …}"
	}
}

func (d *decoder) task(n *node) taskDecl {
	if d.tasks++; d.tasks == maxTasks+1 {
		d.add(tooMuch, n.at, "the file has more than %d tasks", maxTasks)
	}
	if d.tasks > maxTasks {
		return taskDecl{}
	}
	t := decodeObject(d, d.lang.task, n)
	if n.kind != mappingKind || !d.allKnown(n, d.lang.task.names()) {
		return t
	}
	if _, named := n.find("task"); !named {
		d.add(missingKey, n.at, "a task needs a name").Suggestion = "start it with task: NAME"
	}
	if p, ok := n.find("steps"); ok {
		d.checkSteps(p, "the task")
	} else {
		d.add(nothingToRun, n.at, "the task has no steps").Suggestion = "add steps: [{sh: …}]"
	}
	return t
}

func (d *decoder) stepList(n *node) []stepDecl {
	var out []stepDecl
	d.list(n, `"steps"`, func(item *node) {
		if d.steps++; d.steps == maxSteps+1 {
			d.add(tooMuch, item.at, "the file has more than %d steps", maxSteps)
		}
		if d.steps <= maxSteps {
			out = append(out, d.step(item))
		}
	})
	return out
}

func (d *decoder) step(n *node) stepDecl {
	if n.isScalar() {
		line, _, _ := strings.Cut(strings.TrimSpace(n.text), "\n")
		d.add(bareStep, n.at, "a step is a mapping, and this is only text").Suggestion = "write  - sh: " + shorten(line, 60)
		return stepDecl{}
	}
	s := decodeObject(d, d.lang.step, n)
	if _, ok := n.find("sh"); !ok && n.kind == mappingKind && d.allKnown(n, d.lang.step.names()) {
		d.add(missingKey, n.at, "the step has no script").Suggestion = "add sh: …"
	}
	return s
}

// script reads what a step runs. `sh: true` is a boolean in YAML and a fine script.
func (d *decoder) script(n *node) val[string] {
	switch {
	case n.kind == boolKind:
		return val[string]{n.text, n}
	case n.kind == nullKind || n.kind == stringKind && strings.TrimSpace(n.text) == "":
		d.add(emptyScript, n.at, "the script is empty").Suggestion = "write a command, or remove the step"
		return val[string]{}
	case n.kind == listKind:
		d.add(wrongType, n.at, "a script is one text, and this is a list").Suggestion = `write one line per command below "sh: |"`
		return val[string]{}
	case !d.want(n, stringKind, "a script"):
		return val[string]{}
	}
	d.checkExpr(n)
	return val[string]{n.text, n}
}

// checkFile notes what the keys of the file say together, and names that stand for two things.
func (d *decoder) checkFile(root *node, f *fileDecl) {
	if root.kind != mappingKind {
		return
	}
	steps, hasSteps := root.find("steps")
	stages, hasStages := root.find("stages")
	switch {
	case hasSteps && hasStages:
		d.add(conflictingKeys, steps.key.at, `"steps" and "stages" exclude each other`).
			Suggestion = "make the steps a stage: {stage: NAME, steps: […]}"
	case hasSteps:
		d.checkSteps(steps, "the file")
	case hasStages && stages.value.kind == listKind && len(stages.value.items) == 0 && len(f.always) == 0:
		d.add(emptyPlan, stages.key.at, "there are no stages: a run succeeds at once")
	case !hasStages && d.allKnown(root, d.lang.file.names()):
		d.add(missingKey, root.at, "the file says nothing to run").Suggestion = smallestOttofile
	}
	d.checkNames(f)
}

// checkNames refuses names that stand for two things: people and commands tell tasks and stages apart by them.
func (d *decoder) checkNames(f *fileDecl) {
	stages, tasks := map[string]*node{}, map[string]*node{}
	for _, s := range slices.Concat(f.stages, f.always) {
		label := s.stage
		if label.at == nil {
			label = s.name
		}
		if s.listed == nil {
			d.unique(tasks, "task", s.task.name)
			// The stage has the name of its task: one mistake is noted once.
			if label.at != nil && tasks[label.v] != label.at {
				continue
			}
		}
		d.unique(stages, "stage", label)
		for _, t := range s.tasks {
			d.unique(tasks, "task", t.name)
		}
	}
}

func (d *decoder) unique(seen map[string]*node, what string, name val[string]) {
	if name.at == nil {
		return
	}
	if first, twice := seen[name.v]; twice {
		d.add(duplicateName, name.at.at, "the %s %q is there twice; first at line %d, column %d",
			what, name.v, first.at.line, first.at.column).Suggestion = "give each its own name"
		return
	}
	seen[name.v] = name.at
}
