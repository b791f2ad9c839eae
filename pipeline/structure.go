package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
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
	outer := d.scope
	defer func() { d.scope = outer }()
	from := len(d.outputsRead)
	if _, isLegs := n.find("matrix"); isLegs && !isGroup(n) {
		return d.legsOfStage(n)
	}
	body, inner := d.open(n, outer)
	reads := slices.Clone(d.outputsRead[from:])
	d.scope = inner
	s := decodeObject(d, d.lang.stage, body)
	s.task.name, s.task.reads = s.stage, reads
	for i := range s.tasks {
		s.tasks[i].reads = append(s.tasks[i].reads, reads...)
	}
	if n.kind == mappingKind && d.allKnown(n, d.lang.stage.names()) {
		d.checkStage(n, &s)
	}
	return s
}

// isGroup tells whether a stage is written as a list of tasks.
func isGroup(n *node) bool {
	for _, list := range []string{"parallel", "fanout", "linear", "tasks"} {
		if _, ok := n.find(list); ok {
			return true
		}
	}
	return false
}

// legsOfStage reads a stage that is one task for each leg of a matrix.
func (d *decoder) legsOfStage(n *node) stageDecl {
	legs, _ := d.legs(n, d.scope)
	var s stageDecl
	for i, l := range legs {
		from := len(d.outputsRead)
		body, _ := d.open(n, d.scope.with(nameMatrix, l.values))
		one := decodeObject(d, d.lang.stage, body)
		one.task.name, one.task.reads = one.stage, slices.Clone(d.outputsRead[from:])
		one.task.when, one.task.needs = one.when, one.needs
		if i == 0 {
			s = one
			if n.kind == mappingKind && d.allKnown(n, d.lang.stage.names()) {
				d.checkStage(n, &s)
			}
		}
		d.nameLeg(&one.task, l, n)
		s.tasks = append(s.tasks, one.task)
		if !d.countTask(n) {
			break
		}
	}
	s.isLegs, s.when, s.needs = true, val[*Condition]{}, nil
	if s.stage.at != nil && s.stage.at.filled {
		s.stage = val[string]{} // it names the first leg
	}
	return s
}

// nameLeg names the task of a leg after its values, unless its name is written with them.
func (d *decoder) nameLeg(t *taskDecl, l leg, n *node) {
	t.matrix, t.base = l.values, t.name.v
	if t.name.at == nil || t.name.at.filled {
		return
	}
	t.name.v = fmt.Sprintf("%s (%s)", t.base, l.label)
	if utf8.RuneCountInString(t.name.v) > maxName {
		d.add(badName, t.name.at.at, "the leg (%s) makes the name of its task longer than %d characters", shorten(l.label, 60), maxName).
			Suggestion = fmt.Sprintf("name it yourself:  task: %s ${{ matrix.%s }}", shorten(t.base, 30), first(sortedKeys(l.values)))
	}
}

func first(list []string) string {
	if len(list) == 0 {
		return "NAME"
	}
	return list[0]
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
	d.list(v, strconv.Quote(k.text), func(item *node) { s.tasks = append(s.tasks, d.task(item)...) })
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
		case p.key.text != "always" && p.key.text != "when" && p.key.text != "needs" && slices.Contains(d.lang.task.names(), p.key.text):
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

// task reads a task, or one for each leg of its matrix.
func (d *decoder) task(n *node) []taskDecl {
	legs, has := d.legs(n, d.scope)
	if !has {
		if !d.countTask(n) {
			return nil
		}
		return []taskDecl{d.oneTask(n, d.scope)}
	}
	var out []taskDecl
	for _, l := range legs {
		if !d.countTask(n) {
			break
		}
		t := d.oneTask(n, d.scope.with(nameMatrix, l.values))
		d.nameLeg(&t, l, n)
		out = append(out, t)
	}
	return out
}

// countTask counts a task, and says whether the file may have it.
func (d *decoder) countTask(n *node) bool {
	if d.tasks++; d.tasks == maxTasks+1 {
		d.add(tooMuch, n.at, "the file has more than %d tasks", maxTasks)
	}
	return d.tasks <= maxTasks
}

func (d *decoder) oneTask(n *node, s *scope) taskDecl {
	from := len(d.outputsRead)
	body, _ := d.open(n, s)
	t := decodeObject(d, d.lang.task, body)
	t.reads = slices.Clone(d.outputsRead[from:])
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
	case hasStages && stages.value.kind == listKind && len(stages.value.items) == 0 && len(f.always) == 0 && len(f.onFailure) == 0:
		d.add(emptyPlan, stages.key.at, "there are no stages: a run succeeds at once")
	case !hasStages && d.allKnown(root, d.lang.file.names()):
		d.add(missingKey, root.at, "the file says nothing to run").Suggestion = smallestOttofile
	}
	d.checkNames(f, steps.key)
}

// checkNames refuses names that stand for two things: people and commands tell tasks and stages apart by them.
func (d *decoder) checkNames(f *fileDecl, steps *node) {
	stages, tasks := map[string]*node{}, map[string]*node{}
	if steps != nil {
		stages["main"], tasks["main"] = steps, steps
	}
	for _, s := range slices.Concat(f.stages, f.onFailure, f.always) {
		label := s.stage
		if label.at == nil {
			label = s.name
		}
		if s.listed == nil && !s.isLegs {
			d.unique(tasks, "task", s.task.name)
			// The stage has the name of its task: one mistake is noted once.
			if label.at != nil && tasks[label.v] != label.at {
				continue
			}
		}
		if !d.unique(stages, "stage", label) {
			continue
		}
		for _, t := range s.tasks {
			if t.base != "" && t.base != t.name.v && tasks[t.base] != t.name.at {
				d.unique(tasks, "task", val[string]{t.base, t.name.at})
			}
			d.unique(tasks, "task", t.name)
		}
	}
}

func (d *decoder) unique(seen map[string]*node, what string, name val[string]) bool {
	if name.at == nil {
		return true
	}
	if first, twice := seen[name.v]; twice {
		d.add(duplicateName, name.at.at, "the %s %q is there twice; first at %s", what, name.v, first.at.words(d.src)).
			Suggestion = "give each its own name"
		return false
	}
	seen[name.v] = name.at
	return true
}
