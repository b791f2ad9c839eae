// Package show says in words, pictures and scripts what is in a plan, and how two plans differ. It is pure, as pipeline is:
// equal plans give equal bytes.
package show

import (
	"fmt"

	"github.com/ottoci/otto/pipeline"
)

// Item is a stage, a task or a step as people read it.
type Item struct {
	Kind    Kind
	Pointer string // of it in the plan's JSON
	Name    string
	Verdict pipeline.Verdict // whether it runs; later: decided while the run is under way
	Why     string           // what decided that, or will; empty for what runs without a condition
	Facts   []Fact           // in reading order
	Script  string           // of a step, if its name does not say it all
	Items   []Item           // the tasks of a stage, the steps of a task
}

// Kind is what an item is.
type Kind string

// The kinds of items.
const (
	KindStage Kind = "stage"
	KindTask  Kind = "task"
	KindStep  Kind = "step"
)

// Fact is one thing that is known of an item.
type Fact struct {
	Name    string
	Text    string
	Pointer string // of the value in the plan's JSON, for its origin; empty for what others say one by one
	Weight  Weight
}

// Weight says where a fact belongs.
type Weight int

// The weights of facts.
const (
	Line   Weight = iota // has a line of its own
	Joined               // shares a line with those of its name
	Brief                // says itself what it is, and shares a line with others
	Usual                // holds unless somebody says otherwise: needs no mention
)

// Outline is a plan in reading order.
type Outline struct {
	Common []Fact // what holds for every task
	Stages []Item
}

// Of makes the outline of a plan.
func Of(p *pipeline.Plan) Outline {
	b := builder{plan: p, readers: readersOf(p)}
	b.findCommon()
	out := Outline{Common: b.commonFacts()}
	for i := range p.Stages {
		out.Stages = append(out.Stages, b.stage(i))
		out.Stages[i].clean()
	}
	cleanFacts(out.Common)
	return out
}

// clean takes out of texts what a terminal would act upon.
func (i *Item) clean() {
	i.Name, i.Why, i.Script = clean(i.Name), clean(i.Why), clean(i.Script)
	cleanFacts(i.Facts)
	for n := range i.Items {
		i.Items[n].clean()
	}
}

func cleanFacts(facts []Fact) {
	for i := range facts {
		facts[i].Text = clean(facts[i].Text)
	}
}

// builder makes the items of one plan.
type builder struct {
	plan    *pipeline.Plan
	readers map[output][]string
	common  map[string]string // variables that all tasks have alike
	exits   map[string]string // what exit codes mean in all steps alike, where that is not the usual
}

func (b *builder) stage(i int) Item {
	s := &b.plan.Stages[i]
	ptr := fmt.Sprintf("/stages/%d", i)
	item := Item{Kind: KindStage, Pointer: ptr, Name: s.Name}
	item.Verdict, item.Why = fateOfStage(s)
	if len(s.Tasks) != 1 || s.Mode == pipeline.Fanout {
		item.Facts = append(item.Facts, Fact{"mode", Count(len(s.Tasks), "task") + modeWords(s), ptr + "/mode", Brief})
	}
	if s.Always {
		item.Facts = append(item.Facts, Fact{"always", "always", ptr + "/always", Brief})
	}
	if s.OnFailure {
		item.Facts = append(item.Facts, Fact{"on_failure", "on failure", ptr + "/on_failure", Brief})
	}
	for n := range s.Tasks {
		item.Items = append(item.Items, b.task(s, n, fmt.Sprintf("%s/tasks/%d", ptr, n)))
	}
	return item
}

func modeWords(s *pipeline.Stage) string {
	switch {
	case len(s.Tasks) < 2:
		return ""
	case s.Mode == pipeline.Linear:
		return ", one after the other"
	case s.Mode == pipeline.Fanout:
		return " together, the first failure aborts the others"
	}
	return " together"
}

// Count says how many stages and tasks there are, and how many of these do not run or are decided later.
func (o *Outline) Count() (stages, tasks, omitted, later int) {
	for _, s := range o.Stages {
		stages++
		for _, t := range s.Items {
			tasks++
			switch t.Verdict {
			case pipeline.VerdictFalse:
				omitted++
			case pipeline.VerdictLater:
				later++
			}
		}
	}
	return stages, tasks, omitted, later
}

// Alone tells whether a stage is one task of its own name: people see one thing.
func (i *Item) Alone() bool {
	return i.Kind == KindStage && len(i.Items) == 1 && i.Items[0].Name == i.Name
}

// Count counts things: 1 task, 2 tasks.
func Count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
