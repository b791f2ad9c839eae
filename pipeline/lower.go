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
	origins origins
}

func newLowering(r *report) *lowering {
	return &lowering{report: r, origins: origins{file: r.src.name, kind: originFile, at: map[string]Origin{}}}
}

func (l *lowering) plan(f *fileDecl) *Plan {
	o := &l.origins
	p := &Plan{Version: PlanVersion, Stages: []Stage{}}
	o.fallback("/version", originDefault, noteVersion)
	if f.name.at != nil {
		p.Name = f.name.v
		o.say("/name", f.name.at)
	}
	if len(f.steps) > 0 {
		p.Stages = append(p.Stages, l.main(f))
	}
	names := map[string]bool{}
	for _, s := range slices.Concat(f.stages, f.always) {
		names[s.stage.or(s.name.v)] = true
	}
	for _, s := range f.stages {
		p.Stages = append(p.Stages, l.stage(f, &s, len(p.Stages), names))
	}
	for _, s := range f.always {
		ptr := pointer("/stages", len(p.Stages))
		stage := l.stage(f, &s, len(p.Stages), names)
		stage.Always = true
		if _, said := o.at[ptr+"/always"]; !said {
			o.say(ptr+"/always", f.alwaysAt)
		}
		p.Stages = append(p.Stages, stage)
	}
	p.Origins = o.at
	return p
}

// main is the stage of a file that has steps only.
func (l *lowering) main(f *fileDecl) Stage {
	o := &l.origins
	o.fallback("/stages/0/name", originConvention, noteMain)
	o.fallback("/stages/0/mode", originConvention, noteStageTask)
	o.fallback("/stages/0/tasks/0/name", originConvention, noteMain)
	t := l.task(f, &taskDecl{steps: f.steps}, "/stages/0/tasks/0")
	t.Name = "main"
	return Stage{Name: "main", Mode: Linear, Tasks: []Task{t}}
}

func (l *lowering) stage(f *fileDecl, s *stageDecl, n int, names map[string]bool) Stage {
	o, ptr := &l.origins, pointer("/stages", n)
	out := Stage{Mode: Linear, Always: s.always.v, Tasks: []Task{}}
	o.sayIf(ptr+"/always", s.always.at, s.always.v)
	switch {
	case s.listed == nil:
		o.fallback(ptr+"/mode", originConvention, noteStageTask)
		out.Tasks = append(out.Tasks, l.task(f, &s.task, ptr+"/tasks/0"))
	case s.form.at != nil:
		out.Mode = s.form.v
		o.say(ptr+"/mode", s.form.at)
	case s.mode.at != nil:
		out.Mode = s.mode.v
		o.say(ptr+"/mode", s.mode.at)
	default:
		o.fallback(ptr+"/mode", originDefault, noteTasksMode)
	}
	for i := range s.tasks {
		out.Tasks = append(out.Tasks, l.task(f, &s.tasks[i], pointer(ptr+"/tasks", i)))
	}
	switch {
	case s.stage.at != nil:
		out.Name = s.stage.v
		o.say(ptr+"/name", s.stage.at)
	case s.name.at != nil:
		out.Name = s.name.v
		o.say(ptr+"/name", s.name.at)
	default:
		out.Name = freeName(fmt.Sprintf("%s %d", out.Mode, n+1), names)
		o.fallback(ptr+"/name", originConvention, noteStageName)
	}
	return out
}

// freeName adds a mark to a name that somebody has written elsewhere.
func freeName(name string, taken map[string]bool) string {
	for taken[name] {
		name += "'"
	}
	return name
}

func (l *lowering) task(f *fileDecl, t *taskDecl, ptr string) Task {
	o := &l.origins
	out := Task{
		Name: t.name.v, TimeoutMS: t.timeoutMS.or(defaultTaskTimeout.Milliseconds()), AllowFailure: t.allowFailure.v,
		Always: t.always.v, OnLost: t.onLost.or(OnLostRetry), Steps: []Step{},
	}
	if t.name.at != nil {
		o.say(ptr+"/name", t.name.at)
	}
	out.Env = l.env(ptr+"/env", f.env, t.env)
	for _, c := range t.requires {
		if out.Requires == nil {
			out.Requires = map[string]any{}
		}
		out.Requires[c.name] = c.value.v
		o.say(ptr+"/requires/"+escape(c.name), c.value.at)
	}
	o.sayOr(ptr+"/timeout_ms", t.timeoutMS.at, noteTaskTimeout)
	o.sayOr(ptr+"/on_lost", t.onLost.at, noteOnLost)
	o.sayIf(ptr+"/allow_failure", t.allowFailure.at, t.allowFailure.v)
	o.sayIf(ptr+"/always", t.always.at, t.always.v)
	out.Retries = l.retries(t.retries, ptr+"/retries")
	for i := range t.steps {
		out.Steps = append(out.Steps, l.step(f, t, &t.steps[i], pointer(ptr+"/steps", i)))
	}
	return out
}

// env merges variables; the later layer wins.
func (l *lowering) env(ptr string, layers ...[]envDecl) map[string]string {
	var out map[string]string
	for _, layer := range layers {
		for _, e := range layer {
			if out == nil {
				out = map[string]string{}
			}
			out[e.name] = e.value.v
			l.origins.say(ptr+"/"+escape(e.name), e.value.at)
		}
	}
	return out
}

func (l *lowering) retries(r *retriesDecl, ptr string) *Retries {
	if r == nil {
		return nil
	}
	o := &l.origins
	out := &Retries{Limit: r.limit.v, On: []string{}, DelayMS: r.delayMS.v}
	o.say(ptr+"/limit", r.limit.at)
	for i, on := range r.on {
		out.On = append(out.On, on.v)
		o.say(pointer(ptr+"/on", i), on.at)
	}
	for i, exit := range r.exit {
		out.Exit = append(out.Exit, exit.v)
		o.say(pointer(ptr+"/exit", i), exit.at)
	}
	if !r.onSaid {
		for i, on := range defaultRetryOn() {
			out.On = append(out.On, on)
			o.fallback(pointer(ptr+"/on", i), originDefault, noteRetryOn)
		}
	}
	if r.delayMS.at != nil {
		o.say(ptr+"/delay_ms", r.delayMS.at)
	}
	return out
}

func (l *lowering) step(f *fileDecl, t *taskDecl, s *stepDecl, ptr string) Step {
	o := &l.origins
	out := Step{
		Name: s.name.v, Sh: s.sh.v, Dir: s.dir.v, TimeoutMS: s.timeoutMS.v, AllowFailure: s.allowFailure.v, Always: s.always.v,
	}
	o.say(ptr+"/sh", s.sh.at)
	if s.name.at != nil {
		o.say(ptr+"/name", s.name.at)
	} else {
		out.Name = stepName(s.sh.v)
		o.fallback(ptr+"/name", originConvention, noteStepName)
	}
	out.Env = l.env(ptr+"/env", s.env)
	o.sayIf(ptr+"/dir", s.dir.at, s.dir.v != "")
	o.sayIf(ptr+"/timeout_ms", s.timeoutMS.at, s.timeoutMS.v > 0)
	o.sayIf(ptr+"/allow_failure", s.allowFailure.at, s.allowFailure.v)
	o.sayIf(ptr+"/always", s.always.at, s.always.v)
	out.ExitCodes, s.remapsTwo = l.exits(ptr+"/exit_codes", f.exits, t.exits, s.exits)
	if most := t.timeoutMS.or(defaultTaskTimeout.Milliseconds()); s.timeoutMS.v > most {
		l.add(uselessRule, s.timeoutMS.at.at, "the step may take longer than its task, which ends it before").
			Suggestion = "raise the timeout of the task"
	}
	return out
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
