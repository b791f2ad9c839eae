package main

import (
	"fmt"
	"strings"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/pipeline/show"
)

// outlineView writes a plan for people: what happens and why, in as few lines as that takes; or with all, each value with
// its origin beside it.
type outlineView struct {
	*strings.Builder
	style style
	width int // of the terminal; 0 if there is none
	*explained
	all    bool
	agents map[seat]string // by requirements: which agents can take such tasks
	became map[string]client.Task
	names  int    // how wide the names of a task's steps are
	leg    string // what the steps of the task before looked like, if it was a leg of a matrix
}

// keyWidth is how wide the names of facts are.
const keyWidth = 8

func (v *outlineView) write() {
	o := show.Of(v.plan)
	v.heading(&o)
	if v.run != nil {
		v.became = map[string]client.Task{}
		for _, s := range v.run.Stages {
			for _, t := range s.Tasks {
				v.became[t.Name] = t
			}
		}
	}
	if len(o.Common) > 0 && !v.all {
		v.WriteByte('\n')
		v.facts(0, o.Common)
	}
	for i := range o.Stages {
		v.WriteByte('\n')
		v.stage(i, &o.Stages[i])
	}
}

// heading says what is explained, for which event, and what it comes to.
func (v *outlineView) heading(o *show.Outline) {
	name := first(v.plan.Name, v.name)
	if v.run != nil {
		name = v.name + prefixed(", ", v.plan.Name)
	}
	fmt.Fprintf(v, "%s  %s\n", v.style.bold(name), v.style.dim(v.digest))
	if v.run != nil {
		v.WriteString(v.style.mark(v.run.State) + " " + v.style.state(v.run.State) + prefixed(": ", v.run.Reason) + "\n")
	}
	no := show.NoStart(v.plan)
	if no != "" {
		v.WriteString(v.wrapped("", strings.Split(v.style.paint("33;1", "would not start: "+no), ", "), ", "))
	}
	if in := v.plan.Inputs; in != nil {
		v.WriteString(show.EventText(in.Event) + "\n")
		if params := show.ParamsText(in); params != "" {
			v.WriteString(v.wrapped("", strings.Split("with "+params, ", "), ", "))
		}
	}
	stages, tasks, omitted, later := o.Count()
	text := show.Count(stages, "stage") + ", " + show.Count(tasks, "task")
	if omitted+later > 0 {
		text += ": " + strings.Join(words(
			does(tasks-omitted-later, "runs", "run"), does(omitted, "does not run", "do not run"), does(later, "is decided later", "are decided later"),
		), ", ")
	}
	if no != "" {
		text = "if it did: " + text
	} else if t := v.plan.Trigger; t.Filter != "" {
		v.WriteString("starts: " + t.Filter + prefixed(": ", t.Reason) + "\n")
	}
	v.WriteString(v.style.dim(text) + "\n")
}

// does says what some tasks do; nothing of none.
func does(n int, one, many string) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (v *outlineView) stage(i int, s *show.Item) {
	if s.Alone() {
		s.Items[0].Facts = append(s.Facts, s.Items[0].Facts...)
		if s.Why != "" && (s.Items[0].Why == "" || s.Items[0].Why == "its stage does not run" || s.Items[0].Why == "decided with its stage") {
			s.Items[0].Why = s.Why
		}
		v.task(0, &v.plan.Stages[i].Tasks[0], &s.Items[0])
		return
	}
	v.head(0, v.mark(s.Verdict), v.style.bold(s.Name), s)
	if s.Verdict == pipeline.VerdictFalse && s.Why != "" && !v.all {
		return // none of its tasks has anything to add
	}
	v.leg = ""
	for n := range s.Items {
		v.task(1, &v.plan.Stages[i].Tasks[n], &s.Items[n])
	}
}

func (v *outlineView) task(depth int, t *pipeline.Task, item *show.Item) {
	mark := v.mark(item.Verdict)
	became, ran := v.became[t.Name]
	if ran {
		mark = v.style.mark(became.State)
		text := became.State + prefixed(": ", became.Reason)
		if took := between(became.StartedAt, became.FinishedAt); took != "" && client.Final(became.State) {
			text += " in " + took
		}
		item.Facts = append([]show.Fact{{Name: "state", Text: text, Weight: show.Brief}}, item.Facts...)
	}
	v.head(depth, mark, v.style.bold(item.Name), item)
	if item.Verdict == pipeline.VerdictFalse && !v.all {
		return
	}
	if v.agents != nil {
		v.keyed(depth, "agents", v.agents[seatOf(t)])
	}
	v.steps(depth, t, item, became)
}

// steps writes the steps of a task; those of a matrix once, if its legs have the same.
func (v *outlineView) steps(depth int, t *pipeline.Task, item *show.Item, became client.Task) {
	all := v.Builder
	v.Builder = &strings.Builder{}
	v.names = 0
	for n := range item.Items {
		if script := item.Items[n].Script; script != "" && !strings.Contains(script, "\n") {
			v.names = max(v.names, min(width(item.Items[n].Name), someLetters))
		}
	}
	for n := range item.Items {
		v.step(depth, n, &item.Items[n], became)
	}
	steps := v.String()
	v.Builder = all
	leg := t.Base + steps
	if v.all || t.Matrix == nil || t.Base == "" || steps == "" {
		leg = ""
	}
	if leg != "" && leg == v.leg {
		steps = indent(depth+1) + v.style.dim("the same "+strings.TrimPrefix(show.Count(len(t.Steps), "step"), "1 ")) + "\n"
	}
	v.leg = leg
	v.WriteString(steps)
}

func (v *outlineView) step(depth, n int, item *show.Item, became client.Task) {
	mark := ""
	if item.Verdict != pipeline.VerdictTrue {
		mark = v.mark(item.Verdict) + " "
	}
	if n < len(became.Steps) {
		mark = v.style.mark(became.Steps[n].State) + " "
	}
	at := indent(depth+1) + v.style.dim(fmt.Sprint(n+1)) + " " + mark
	script := item.Script
	if v.all {
		v.origin(at+v.style.bold(item.Name), item.Pointer+"/sh")
	} else {
		name := item.Name
		if !strings.Contains(script, "\n") && script != "" {
			name, script = pad(name, max(v.names, width(name)))+"  "+v.style.dim(script), ""
		}
		v.WriteString(v.short(at+strings.Join(v.brief(name, item), v.style.dim(" · "))) + "\n")
	}
	v.why(depth+1, item)
	v.facts(depth+2, item.Facts)
	if item.Verdict != pipeline.VerdictFalse || v.all {
		v.script(depth+2, script)
	}
}

// someLetters is how far the names of steps are padded.
const someLetters = 24

// someLines is how much of a longer script is shown.
const someLines = 4

func (v *outlineView) script(depth int, script string) {
	if script == "" {
		return
	}
	lines := strings.Split(script, "\n")
	shown := lines
	if !v.all && len(lines) > someLines+1 {
		shown = lines[:someLines]
	}
	for _, line := range shown {
		v.WriteString(v.short(strings.TrimRight(indent(depth)+v.style.dim("│")+" "+strings.TrimRight(line, "\r"), " ")) + "\n")
	}
	if n := len(lines) - len(shown); n > 0 {
		v.WriteString(indent(depth) + v.style.dim(fmt.Sprintf("│ … %d more lines", n)) + "\n")
	}
}
