package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// The rules behind values that the file does not say; a plan quotes them as the note of an origin.
const (
	noteVersion     = "the version of the plan's form"
	noteMain        = "steps without stages are one task, main"
	noteStageTask   = "a stage with steps is one task"
	noteStageName   = "a stage without a name is named after its mode and place"
	noteStepName    = "a step without a name is named after the first line of its script"
	noteFragment    = "a task that may add others has the output fragment"
	noteParam       = "a parameter without a default is empty, false or 0 unless it is given"
	noteLegs        = "the legs of a matrix run together"
	noteIsolation   = "the isolation of the task, as a number"
	noteUntrusted   = "a pull request from a fork is untrusted: its tasks run at S3 or above"
	noteImage       = "an image needs an agent with docker"
	noteNoCheckout  = "checkout: false"
	noteAllHistory  = "depth: all"
	notePower       = "a power over the host needs an agent that allows it"
	noteHealthShell = "the command of a health check is run by a shell"
	noteHostNetwork = "the network of the host"
	noteDeploys     = "a task that deploys is not tried again by itself when its agent is lost"
	noteGroup       = "a task that deploys is in the group of its environment"
	noteOneAtOnce   = "one task of a group runs at once unless it says otherwise"
	noteWait        = "a task waits for room in its group unless it says otherwise"
	noteOutput      = "an output is a string unless its type is said"
	noteShell       = "sh and bash stop at the first command that fails"
	noteWord        = "a word of the command there"
	noteNeed        = "a task of what is named there"
	noteItem        = "an item of the list there"
	noteSize        = "the size there, in bytes"
	noteBound       = "a bound of the version range there"
	noteTasksMode   = "tasks run one after the other unless the mode says otherwise"
	noteTaskTimeout = "a task may take 1h unless it says otherwise"
	noteOnLost      = "a task whose agent is lost is tried again unless it says otherwise"
	noteExit        = "exit code %s means %s unless the file says otherwise"
	noteRetryOn     = "failed and timeout are tried again unless retries.on says otherwise"
)

// stepNameWidth is how many characters of a script name its step.
const stepNameWidth = 60

// lowering turns declarations into a plan, and notes the origin of each value beside it.
type lowering struct {
	*report
	origins      origins
	inputs       *Inputs
	given        map[string]any // parameters
	trigger      Trigger
	fragments    map[string][]FragmentInput
	addedBy      map[string]string
	environments map[string]*environmentDecl
}

func newLowering(r *report) *lowering {
	return &lowering{report: r, origins: origins{src: r.src, kind: originFile, at: map[string]Origin{}}}
}

func (l *lowering) plan(f *fileDecl) *Plan {
	o := &l.origins
	p := &Plan{Version: PlanVersion, Inputs: l.inputs, Trigger: l.trigger, Stages: []Stage{}}
	o.fallback("/version", originDefault, noteVersion)
	if f.name.at != nil {
		p.Name = f.name.v
		o.say("/name", f.name.at)
	}
	l.params(f)
	l.environments = map[string]*environmentDecl{}
	for i, e := range f.environments {
		l.environments[e.name] = &f.environments[i]
	}
	if len(f.steps) > 0 {
		f.stages = []stageDecl{l.main(f)}
	}
	names := map[string]bool{}
	for _, s := range slices.Concat(f.stages, f.onFailure, f.always) {
		names[s.stage.or(s.name.v)] = true
	}
	g := &graph{report: l.report, named: map[string][]*placed{}}
	for _, part := range []struct {
		stages []stageDecl
		at     *node
		field  string
	}{{f.stages, nil, ""}, {f.onFailure, f.onFailureAt, "/on_failure"}, {f.always, f.alwaysAt, "/always"}} {
		for i := range part.stages {
			n := len(p.Stages)
			s := l.stage(f, &part.stages[i], n, names)
			s.OnFailure, s.Always = part.field == "/on_failure", s.Always || part.field == "/always"
			if ptr := pointer("/stages", n) + part.field; part.at != nil && o.at[ptr] == (Origin{}) {
				o.say(ptr, part.at)
			}
			p.Stages = append(p.Stages, s)
			l.place(g, p.Stages, n, part.stages[i].listing())
		}
	}
	g.resolve(o)
	g.checkReads()
	p.Origins = o.at
	return p
}

// params notes where the values of parameters come from.
func (l *lowering) params(f *fileDecl) {
	for _, p := range f.params {
		ptr := "/inputs/params/" + escape(p.name.text)
		_, given := l.given[p.name.text]
		for i, leaf := range leaves(ptr, l.inputs.Params[p.name.text]) {
			switch {
			case given:
				l.origins.at[leaf] = Origin{Kind: originGiven}
			case p.fallback == nil:
				l.origins.fallback(leaf, originDefault, noteParam)
			case i < len(p.fallback.items):
				l.origins.say(leaf, p.fallback.items[i])
			case leaf != ptr:
				l.origins.sayAs(leaf, p.fallback, noteItem)
			default:
				l.origins.say(leaf, p.fallback)
			}
		}
	}
}

// leaves lists the pointers of a value's scalars; parameters nest no deeper than a list.
func leaves(ptr string, v any) []string {
	items, ok := v.([]any)
	if !ok {
		return []string{ptr}
	}
	out := make([]string, 0, len(items))
	for i := range items {
		out = append(out, pointer(ptr, i))
	}
	return out
}

// place notes the tasks of a stage for the graph.
func (l *lowering) place(g *graph, stages []Stage, n int, decls []*taskDecl) {
	g.stages = stages
	for i := range stages[n].Tasks {
		g.add(&placed{task: &stages[n].Tasks[i], decl: decls[i], stage: n, index: i})
	}
}

// listing gives the tasks of a stage, however it is written.
func (s *stageDecl) listing() []*taskDecl {
	if s.listed == nil && !s.isLegs {
		return []*taskDecl{&s.task}
	}
	out := make([]*taskDecl, 0, len(s.tasks))
	for i := range s.tasks {
		out = append(out, &s.tasks[i])
	}
	return out
}

// main is the stage of a file that has steps only.
func (l *lowering) main(f *fileDecl) stageDecl {
	o := &l.origins
	o.fallback("/stages/0/name", originConvention, noteMain)
	o.fallback("/stages/0/tasks/0/name", originConvention, noteMain)
	return stageDecl{stage: val[string]{v: "main"}, task: taskDecl{name: val[string]{v: "main"}, steps: f.steps}}
}

func (l *lowering) stage(f *fileDecl, s *stageDecl, n int, names map[string]bool) Stage {
	o, ptr := &l.origins, pointer("/stages", n)
	out := Stage{Mode: Linear, Always: s.always.v, Tasks: []Task{}}
	o.sayIf(ptr+"/always", s.always.at, s.always.v)
	switch {
	case s.isLegs:
		out.Mode = Parallel
		o.fallback(ptr+"/mode", originConvention, noteLegs)
	case s.listed == nil:
		o.fallback(ptr+"/mode", originConvention, noteStageTask)
		if s.when.at != nil { // what the stage says, its task does
			s.task.when, s.when = s.when, val[*Condition]{}
		}
	case s.form.at != nil:
		out.Mode = s.form.v
		o.say(ptr+"/mode", s.form.at)
	case s.mode.at != nil:
		out.Mode = s.mode.v
		o.say(ptr+"/mode", s.mode.at)
	default:
		o.fallback(ptr+"/mode", originDefault, noteTasksMode)
	}
	out.When = l.condition(ptr, s.when)
	for i, t := range s.listing() {
		if t.needs == nil {
			t.needs = s.needs
		}
		t.inherit(&f.defaults)
		out.Tasks = append(out.Tasks, l.task(f, t, out.When, pointer(ptr+"/tasks", i)))
	}
	switch {
	case s.stage.at != nil:
		out.Name = s.stage.v
		o.say(ptr+"/name", s.stage.at)
	case s.name.at != nil:
		out.Name = s.name.v
		o.say(ptr+"/name", s.name.at)
	case s.stage.v != "":
		out.Name = s.stage.v // its rule is noted
	default:
		out.Name = freeName(fmt.Sprintf("%s %d", out.Mode, n+1), names)
		o.fallback(ptr+"/name", originConvention, noteStageName)
	}
	return out
}

// condition puts a condition into the plan.
func (l *lowering) condition(ptr string, when val[*Condition]) *Condition {
	if when.v == nil {
		return nil
	}
	l.origins.say(ptr+"/when/expr", when.at)
	return when.v
}

// freeName adds a mark to a name that somebody has written elsewhere.
func freeName(name string, taken map[string]bool) string {
	for taken[name] {
		name += "'"
	}
	return name
}

// exits merges what exit codes mean; the innermost layer wins. It tells whether any layer speaks about code 2.
func (l *lowering) exits(ptr string, layers ...[]exitDecl) (table map[string]string, two bool) {
	table = map[string]string{}
	for _, x := range defaultExits() {
		table[x.code] = x.outcome
		l.origins.fallback(ptr+"/"+x.code, originDefault, fmt.Sprintf(noteExit, x.code, x.outcome))
	}
	for _, layer := range layers {
		for _, x := range layer {
			table[x.code] = x.outcome.v
			l.origins.say(ptr+"/"+x.code, x.outcome.at)
			two = two || x.code == "2"
		}
	}
	return table, two
}

// stepName is the first line of a script that says something.
func stepName(script string) string {
	for line := range strings.Lines(script) {
		if name := oneLine(line); name != "" && !strings.HasPrefix(name, "#") {
			return name
		}
	}
	return oneLine(script)
}

// oneLine makes a name of a text: a name neither breaks a table nor drives a terminal.
func oneLine(text string) string {
	return shorten(strings.Join(strings.Fields(visible(text)), " "), stepNameWidth)
}
