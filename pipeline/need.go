package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// needs reads the name of a stage or task, or a list of them.
func (d *decoder) needs(k, n *node) *needsDecl {
	out := &needsDecl{at: k}
	items := n.items
	if n.kind == stringKind {
		items = []*node{n}
	} else if !d.want(n, listKind, "needs") {
		return nil
	}
	for _, item := range items {
		if v, ok := d.str(item, "a need"); ok {
			out.names = append(out.names, v)
		}
	}
	return out
}

// maxNeeds bounds the edges between tasks: the database has a row for each.
const maxNeeds = 100_000

// placed is a task of the plan, with its declaration and its place.
type placed struct {
	task         *Task
	decl         *taskDecl
	stage, index int
	needs        []*placed
	needed       map[*placed]bool
	mark         int // of the search for cycles: 1 while it is being looked at, 2 after
}

// graph is how the tasks of a plan follow each other.
type graph struct {
	*report
	all    []*placed
	stages []Stage
	edges  int
	named  map[string][]*placed // by name of a task, of the task of a matrix, and of a stage
}

func (g *graph) add(p *placed) {
	g.all = append(g.all, p)
	names := []string{p.task.Name, p.task.Base, g.stages[p.stage].Name}
	for i, name := range names {
		if name != "" && !slices.Contains(names[:i], name) {
			g.named[name] = append(g.named[name], p)
		}
	}
}

// resolve finds the tasks behind the names of needs.
func (g *graph) resolve(origins *origins) {
	for _, p := range g.all {
		needs := p.decl.needs
		if needs == nil {
			continue
		}
		if s := g.stages[p.stage]; s.Always || s.OnFailure {
			g.report.add(conflictingKeys, needs.at.at, "stages that always run, or after a failure, wait for all stages before").Suggestion = "remove needs"
			continue
		}
		p.task.Needs, p.needed = []string{}, map[*placed]bool{}
		for _, name := range needs.names {
			g.need(p, name, origins)
		}
		if g.edges += len(p.needs); g.edges > maxNeeds {
			g.report.add(tooMuch, needs.at.at, "tasks need more than %d others in all", maxNeeds).Suggestion = "leave needs out where a task waits for whole stages"
			return
		}
	}
	for _, p := range g.all {
		if path := g.cycle(p); path != nil {
			slices.Reverse(path)
			g.report.add(cyclicNeeds, p.decl.needs.at.at, "tasks wait for each other: %s", strings.Join(path, " needs ")).
				Suggestion = "remove one of these needs"
			return
		}
	}
}

func (g *graph) need(p *placed, name val[string], origins *origins) {
	found := g.named[name.v]
	if len(found) == 0 {
		x := g.report.add(unknownNeed, name.at.at, "there is no stage or task %q", shorten(name.v, 60))
		if near := nearest(name.v, sortedKeys(g.named)); near != "" {
			x.Suggestion = fmt.Sprintf("did you mean %q?", near)
		}
		return
	}
	for _, other := range found {
		switch {
		case other.stage > p.stage:
			g.report.add(laterNeed, name.at.at, "%q comes later: a task can only need what stands before it, or beside it in its stage", shorten(name.v, 60)).
				Suggestion = "move it to a stage before this one"
			return
		case other == p:
			if len(found) == 1 {
				g.report.add(cyclicNeeds, name.at.at, "the task %q needs itself", p.task.Name).Suggestion = "remove it"
			}
			continue
		case p.needed[other]:
			continue
		}
		ptr := pointer(fmt.Sprintf("/stages/%d/tasks/%d/needs", p.stage, p.index), len(p.task.Needs))
		if other.task.Name == name.v {
			origins.say(ptr, name.at)
		} else {
			origins.sayAs(ptr, name.at, noteNeed)
		}
		p.needed[other] = true
		p.needs, p.task.Needs = append(p.needs, other), append(p.task.Needs, other.task.Name)
	}
}

// cycle follows needs from a task, and gives the path of one that comes back, in reverse.
func (g *graph) cycle(p *placed) []string {
	switch p.mark {
	case 1:
		return []string{p.task.Name}
	case 2:
		return nil
	}
	p.mark = 1
	for _, other := range p.needs {
		if path := g.cycle(other); path != nil {
			return append(path, p.task.Name)
		}
	}
	p.mark = 2
	return nil
}

// before tells whether a task is final before another one starts.
func (g *graph) before(other, p *placed, seen map[*placed]bool) bool {
	if p.decl.needs == nil {
		return other.stage < p.stage || other.stage == p.stage && g.stages[p.stage].Mode == Linear && other.index < p.index && other.decl.needs == nil
	}
	for _, need := range p.needs {
		if need == other {
			return true
		}
		// One that is omitted is fulfilled at once, whatever it would have waited for.
		if !seen[need] && need.task.Omitted == "" {
			seen[need] = true
			if g.before(other, need, seen) {
				return true
			}
		}
	}
	return false
}

// checkReads looks at the outputs that tasks read: the task must be there, come before, and promise them.
func (g *graph) checkReads() {
	for _, p := range g.all {
		for _, r := range p.decl.reads {
			g.checkRead(p, r)
		}
	}
}

func (g *graph) checkRead(p *placed, r outputRead) {
	found := slices.DeleteFunc(slices.Clone(g.named[r.path[1]]), func(o *placed) bool { return o.task.Name != r.path[1] && o.task.Base != r.path[1] })
	switch {
	case len(found) == 0:
		x := g.report.add(unknownOutput, r.at, "there is no task %q", shorten(r.path[1], 60))
		if len(g.named[r.path[1]]) > 0 {
			x.Suggestion = fmt.Sprintf("it is a stage; name one of its tasks: outputs[%q]", g.named[r.path[1]][0].task.Name)
		} else if near := nearest(r.path[1], sortedKeys(g.named)); near != "" {
			x.Suggestion = fmt.Sprintf("did you mean %q?", near)
		}
		return
	case len(found) > 1:
		g.report.add(unknownOutput, r.at, "%q is %d tasks", shorten(r.path[1], 60), len(found)).
			Suggestion = fmt.Sprintf("name one of them: outputs[%q]", found[0].task.Name)
		return
	case !g.before(found[0], p, map[*placed]bool{}):
		g.report.add(unknownOutput, r.at, "the task %q is not over when %q starts", r.path[1], p.task.Name).
			Suggestion = fmt.Sprintf("move it to a stage before, or add  needs: [%s]", r.path[1])
		return
	}
	if len(r.path) > 2 && found[0].task.Outputs[r.path[2]] == "" {
		known := sortedKeys(found[0].task.Outputs)
		x := g.report.add(unknownOutput, r.at, "the task %q has no output %q", r.path[1], shorten(r.path[2], 60))
		x.Suggestion = "declare it there:  outputs: { " + r.path[2] + ": string }"
		if near := nearest(r.path[2], known); near != "" {
			x.Suggestion = fmt.Sprintf("did you mean %q?", near)
		}
		return
	}
	g.warnUnsure(p, found[0], r)
}

// warnUnsure says so where an output will be missing, or may be, since its task does not run. Whoever has the same condition does not run then
// either.
func (g *graph) warnUnsure(p, from *placed, r outputRead) {
	if r.optional || p.task.Omitted != "" {
		return
	}
	why := ""
	if condition := from.task.decidedBy(); condition != "" && condition != p.task.decidedBy() {
		why = "may not run: " + strings.Join(strings.Fields(condition), " ")
	}
	if from.task.Omitted != "" {
		why = "does not run: " + from.task.Omitted
	}
	if why == "" {
		return
	}
	fallback := "outputs"
	for _, key := range r.path[1:] {
		fallback += ".?" + key
		if !envName.MatchString(key) { // it cannot follow a dot
			fallback = strings.TrimSuffix(fallback, ".?"+key) + fmt.Sprintf("[?%q]", key)
		}
	}
	g.report.add(unsureOutput, r.at, "the task %q %s", r.path[1], shorten(why, 120)).
		Suggestion = "say what it is then:  " + fallback + ".orValue(…)"
}

// decidedBy is the condition that the run decides, on which the task starts; empty if there is none.
func (t *Task) decidedBy() string {
	for _, l := range t.Later {
		if l.Field == "/when" {
			return l.Expr
		}
	}
	return ""
}
