package properties

import (
	"slices"
	"strings"

	"github.com/ottoci/otto/pipeline"
)

// leg is a task as a plan has it: one for each combination of its matrix.
type leg struct {
	*task
	in     *stage
	name   string
	matrix map[string]string
}

// legs lists the combinations of a task, the last axis fastest.
func (t *task) legs() []leg {
	out := []leg{{task: t, matrix: map[string]string{}}}
	for _, a := range t.axes {
		var next []leg
		for _, l := range out {
			for _, v := range a.values {
				matrix := map[string]string{a.name: v}
				for name, value := range l.matrix {
					matrix[name] = value
				}
				next = append(next, leg{task: t, matrix: matrix, name: strings.TrimPrefix(l.name+", "+v, ", ")})
			}
		}
		out = next
	}
	for i := range out {
		if out[i].name = t.name + " (" + out[i].name + ")"; t.axes == nil {
			out[i].name = t.name
		}
	}
	return out
}

// legs lists the tasks of a stage.
func (s *stage) legs() (out []leg) {
	for _, t := range s.tasks {
		for _, l := range t.legs() {
			l.in = s
			out = append(out, l)
		}
	}
	return out
}

// waits gives what a task waits for instead of the stages before; its own word counts before that of its stage.
func (t *task) waits(s *stage) (names []string, needy bool) {
	if t.needy {
		return t.needs, true
	}
	return s.needs, s.needy
}

// needs lists the tasks that a leg waits for; nil is the barrier.
func (f *ottofile) needs(l leg) []string {
	names, needy := l.waits(l.in)
	if !needy {
		return nil
	}
	out := []string{}
	for _, name := range names {
		for _, s := range f.stages {
			for _, other := range s.legs() {
				if (other.name == name || other.task.name == name || s.name == name) && other.name != l.name && !slices.Contains(out, other.name) {
					out = append(out, other.name)
				}
			}
		}
	}
	return out
}

// scene is what the conditions of a leg look at.
func (f *ottofile) scene(l leg) scene {
	return scene{event: f.facts.Event, params: f.params, matrix: l.matrix, mode: f.mode}
}

// runs is what the conditions of a leg and of its stage come to; the legs of a stage with a matrix have its condition each.
func (l leg) runs(s scene) truth { return both(l.in.when.judge(s), l.when.judge(s)) }

// protected says whether the environment of a leg refuses the event.
func (f *ottofile) protected(l leg) bool {
	i := slices.IndexFunc(f.environments, func(e environment) bool { return e.name == l.environment })
	if i < 0 {
		return false
	}
	name := f.facts.Event.Branch + f.facts.Event.Tag
	if f.environments[i].branch != "" && f.facts.Event.PullRequest != nil {
		return true
	}
	switch f.environments[i].branch {
	case "main":
		return name != "main"
	case "dev/**":
		return !strings.HasPrefix(name, "dev/")
	}
	return false
}

// omitted says whether planning leaves a leg out.
func (f *ottofile) omitted(l leg) bool { return f.protected(l) || l.runs(f.scene(l)) == no }

// starts says whether the event starts a run.
func (f *ottofile) starts() bool {
	e := f.facts.Event
	switch {
	case e.Kind == pipeline.EventManual:
		return true
	case strings.Contains(e.Message, "[skip ci]"):
		return false
	case f.on == nil:
		return e.Kind == pipeline.EventPush || e.Kind == pipeline.EventPullRequest || e.Kind == pipeline.EventTag
	}
	switch e.Kind {
	case pipeline.EventPush:
		branch := f.on.branch == "" || f.on.branch == "main" && e.Branch == "main" || f.on.branch == "dev/**" && strings.HasPrefix(e.Branch, "dev/")
		return branch && (f.on.path == "" || hasChanged(e, f.on.path))
	case pipeline.EventPullRequest:
		return !f.on.noForks || !e.PullRequest.Fork
	case pipeline.EventTag:
		return f.on.tag
	case pipeline.EventSchedule:
		return f.on.cron
	}
	return false
}
