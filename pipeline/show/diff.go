package show

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/ottoci/otto/pipeline"
)

// Effect is one way in which a plan differs from another.
type Effect struct {
	Kind  EffectKind `json:"effect"`
	Stage string     `json:"stage,omitempty"` // where it is afterwards, or was if it is gone
	Task  string     `json:"task,omitempty"`
	Step  string     `json:"step,omitempty"`
	Field string     `json:"field,omitempty"` // such as env.CGO_ENABLED
	// Before and After are the values of the field, or nil where there is none.
	Before any    `json:"before,omitempty"`
	After  any    `json:"after,omitempty"`
	Why    string `json:"why,omitempty"` // what decided, for what runs now or no longer does
}

// EffectKind is what became of a part of the plan.
type EffectKind string

// The kinds of effects.
const (
	EffectAdded   EffectKind = "added"
	EffectRemoved EffectKind = "removed"
	EffectMoved   EffectKind = "moved"   // to another stage, or another place among the steps
	EffectRenamed EffectKind = "renamed" // nothing but the name is new
	EffectChanged EffectKind = "changed"
	EffectRuns    EffectKind = "runs"    // it did not for certain
	EffectOmitted EffectKind = "omitted" // it ran, or could have
	EffectLater   EffectKind = "later"   // it was decided, and is decided later
)

// Diff lists what a plan does otherwise than the one before, in reading order of both.
func Diff(before, after *pipeline.Plan) []Effect {
	d := &differ{}
	d.fields(Effect{}, planFields(before), planFields(after))
	d.stages(before, after)
	d.tasks(before, after)
	return d.effects
}

type differ struct{ effects []Effect }

func (d *differ) add(e Effect) { d.effects = append(d.effects, e) }

// stages compares the stages by name, without their tasks.
func (d *differ) stages(before, after *pipeline.Plan) {
	var oldNames, newNames []string
	for i := range before.Stages {
		oldNames = append(oldNames, before.Stages[i].Name)
	}
	for i := range after.Stages {
		newNames = append(newNames, after.Stages[i].Name)
	}
	moved := outOfOrder(oldNames, newNames)
	old := places(oldNames)
	for i := range after.Stages {
		s := &after.Stages[i]
		n, ok := old[s.Name]
		if !ok {
			d.add(Effect{Kind: EffectAdded, Stage: s.Name})
			continue
		}
		delete(old, s.Name)
		if moved[s.Name] {
			d.add(Effect{Kind: EffectMoved, Stage: s.Name, Before: n + 1, After: i + 1})
		}
		d.fields(Effect{Stage: s.Name}, stageFields(&before.Stages[n]), stageFields(s))
	}
	for _, name := range oldNames {
		if _, gone := old[name]; gone {
			d.add(Effect{Kind: EffectRemoved, Stage: name})
		}
	}
}

// tasks compares the tasks by name: it is unique in a plan.
func (d *differ) tasks(before, after *pipeline.Plan) {
	old := map[string]placed{}
	for _, at := range tasksOf(before) {
		old[at.task.Name] = at
	}
	var fresh []placed
	kept := map[string]bool{}
	for _, at := range tasksOf(after) {
		if was, ok := old[at.task.Name]; ok {
			kept[at.task.Name] = true
			d.task(was, at)
		} else {
			fresh = append(fresh, at)
		}
	}
	var gone []placed
	for _, at := range tasksOf(before) {
		if !kept[at.task.Name] {
			gone = append(gone, at)
		}
	}
	renamed := renames(gone, fresh)
	found := map[string]bool{}
	for _, at := range fresh {
		if was, ok := renamed[at.task.Name]; ok {
			found[was.task.Name] = true
			d.add(Effect{Kind: EffectRenamed, Stage: at.stage.Name, Task: at.task.Name, Before: was.task.Name, After: at.task.Name})
			d.task(was, at)
			continue
		}
		d.add(Effect{Kind: EffectAdded, Stage: at.stage.Name, Task: at.task.Name, After: fateWord(at), Why: whyOf(at)})
	}
	for _, at := range gone {
		if !found[at.task.Name] {
			d.add(Effect{Kind: EffectRemoved, Stage: at.stage.Name, Task: at.task.Name, Before: fateWord(at)})
		}
	}
}

// task compares one task of both plans.
func (d *differ) task(was, is placed) {
	at := Effect{Stage: is.stage.Name, Task: is.task.Name}
	if was.stage.Name != is.stage.Name {
		e := at
		e.Kind, e.Before, e.After = EffectMoved, was.stage.Name, is.stage.Name
		d.add(e)
	}
	oldVerdict, _ := was.fate()
	newVerdict, why := is.fate()
	d.verdict(at, oldVerdict, newVerdict, why)
	d.fields(at, taskFields(was.task), taskFields(is.task))
	d.steps(at, was.task, is.task)
}

// verdict notes what became reachable, or no longer is.
func (d *differ) verdict(at Effect, was, is pipeline.Verdict, why string) {
	if was == is {
		return
	}
	at.Kind = map[pipeline.Verdict]EffectKind{
		pipeline.VerdictTrue: EffectRuns, pipeline.VerdictFalse: EffectOmitted, pipeline.VerdictLater: EffectLater,
	}[is]
	at.Before, at.After, at.Why = verdictWord(was), verdictWord(is), why
	d.add(at)
}

func (d *differ) steps(at Effect, was, is *pipeline.Task) {
	oldKeys, newKeys := stepKeys(was), stepKeys(is)
	moved := outOfOrder(oldKeys, newKeys)
	old := places(oldKeys)
	for i, key := range newKeys {
		at := at
		at.Step = key
		n, ok := old[key]
		if !ok {
			at.Kind, at.After = EffectAdded, i+1
			d.add(at)
			continue
		}
		delete(old, key)
		if moved[key] {
			e := at
			e.Kind, e.Before, e.After = EffectMoved, n+1, i+1
			d.add(e)
		}
		oldVerdict, _ := FateOfStep(was, n)
		newVerdict, why := FateOfStep(is, i)
		d.verdict(at, oldVerdict, newVerdict, why)
		d.fields(at, stepFields(was, n), stepFields(is, i))
	}
	for n, key := range oldKeys {
		if _, gone := old[key]; gone {
			at := at
			at.Kind, at.Step, at.Before = EffectRemoved, key, n+1
			d.add(at)
		}
	}
}

// stepKeys are the names of a task's steps; of equal ones, all but the first have a number.
func stepKeys(t *pipeline.Task) []string {
	seen := map[string]int{}
	var keys []string
	for i := range t.Steps {
		key := t.Steps[i].Name
		if seen[key]++; seen[key] > 1 {
			key += " (" + strconv.Itoa(seen[key]) + ")"
		}
		keys = append(keys, key)
	}
	return keys
}

// renames pairs tasks that differ in their names only.
func renames(gone, fresh []placed) map[string]placed {
	byBody := map[string][]placed{}
	for _, at := range gone {
		key := bodyOf(at.task)
		byBody[key] = append(byBody[key], at)
	}
	out := map[string]placed{}
	for _, at := range fresh {
		key := bodyOf(at.task)
		if same := byBody[key]; len(same) > 0 {
			out[at.task.Name], byBody[key] = same[0], same[1:]
		}
	}
	return out
}

// bodyOf is all of a task but its name.
func bodyOf(t *pipeline.Task) string {
	clone := *t
	clone.Name, clone.UUID, clone.Base = "", "", ""
	body, err := json.Marshal(clone)
	if err != nil {
		return fmt.Sprintf("%p", t) // like no other
	}
	return string(body)
}

func fateWord(at placed) string { verdict, _ := at.fate(); return verdictWord(verdict) }

func whyOf(at placed) string { _, why := at.fate(); return why }

func verdictWord(v pipeline.Verdict) string {
	switch v {
	case pipeline.VerdictFalse:
		return "does not run"
	case pipeline.VerdictLater:
		return "is decided later"
	}
	return "runs"
}
