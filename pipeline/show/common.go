package show

import (
	"maps"
	"slices"

	"github.com/ottoci/otto/pipeline"
)

// findCommon finds what all tasks have alike: it is said once.
func (b *builder) findCommon() {
	tasks, steps := 0, 0
	for i := range b.plan.Stages {
		for _, t := range b.plan.Stages[i].Tasks {
			b.common = alike(b.common, t.Env, tasks)
			tasks++
			for _, s := range t.Steps {
				b.exits = alike(b.exits, s.ExitCodes, steps)
				steps++
			}
		}
	}
	if tasks < 2 {
		b.common = nil
	}
	if steps < 2 {
		b.exits = nil
	}
	maps.DeleteFunc(b.exits, func(code, outcome string) bool { return usualExit(code) == outcome })
}

// alike keeps the entries that the n mappings before and this one share.
func alike(before, one map[string]string, n int) map[string]string {
	if n == 0 {
		return maps.Clone(one)
	}
	maps.DeleteFunc(before, func(key, value string) bool {
		other, ok := one[key]
		return !ok || other != value
	})
	return before
}

func (b *builder) commonFacts() []Fact {
	var list []Fact
	ptr := "/stages/0/tasks/0"
	for _, name := range slices.Sorted(maps.Keys(b.common)) {
		list = append(list, Fact{"env", name + "=" + quoted(b.common[name]), ptr + "/env/" + escape(name), Joined})
	}
	for _, code := range sortedCodes(b.exits) {
		list = append(list, Fact{"exits", code + " means " + b.exits[code], ptr + "/steps/0/exit_codes/" + code, Joined})
	}
	if at, ms := b.defaultTimeout(); at != "" {
		list = append(list, Fact{"timeout", Milliseconds(ms) + " for each task that says nothing else", at, Line})
	}
	return list
}

// defaultTimeout is that of the first task whose Ottofile says none.
func (b *builder) defaultTimeout() (at string, ms int64) {
	for i := range b.plan.Stages {
		for n := range b.plan.Stages[i].Tasks {
			at := pointer(i, n) + "/timeout_ms"
			if b.plan.Origins[at].Kind == "default" {
				return at, b.plan.Stages[i].Tasks[n].TimeoutMS
			}
		}
	}
	return "", 0
}

// tasksOf lists the tasks of a plan with the place of each.
func tasksOf(p *pipeline.Plan) []placed {
	var list []placed
	for i := range p.Stages {
		for n := range p.Stages[i].Tasks {
			list = append(list, placed{&p.Stages[i], &p.Stages[i].Tasks[n], i, n})
		}
	}
	return list
}

// placed is a task and where it stands.
type placed struct {
	stage       *pipeline.Stage
	task        *pipeline.Task
	at, inStage int // the stage in the plan, and the task in it
}

func (p placed) pointer() string { return pointer(p.at, p.inStage) }

func (p placed) fate() (pipeline.Verdict, string) { return FateOfTask(p.stage, p.inStage) }
