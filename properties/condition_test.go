package properties

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/ottoci/otto/pipeline"
)

// truth is what a condition comes to. It is worked out here without CEL, from what the generator knows that it wrote.
type truth int

const (
	no truth = iota
	yes
	open   // it needs what only the run will know
	broken // it reads an output that is not there
)

func is(b bool) truth {
	if b {
		return yes
	}
	return no
}

// scene is what a condition may look at.
type scene struct {
	event   pipeline.Event
	params  map[string]any
	matrix  map[string]string
	mode    string // the variable MODE of the file
	running bool   // the run is there: outputs and the status are known
	outputs map[string]map[string]any
	status  string
}

// cond is a condition, as text and as what it means.
type cond struct {
	text string
	eval func(s scene) truth
}

// judge is what a condition that may be absent comes to.
func (c *cond) judge(s scene) truth {
	if c == nil {
		return yes
	}
	return c.eval(s)
}

// both is false if one of them is, whatever is wrong with the other.
func both(a, b truth) truth {
	for _, t := range []truth{no, open, broken} {
		if a == t || b == t {
			return t
		}
	}
	return yes
}

func negate(t truth) truth {
	switch t {
	case no:
		return yes
	case yes:
		return no
	}
	return t
}

func not(c cond) cond {
	return cond{"!(" + c.text + ")", func(s scene) truth { return negate(c.eval(s)) }}
}

func and(a, b cond) cond {
	return cond{"(" + a.text + ") && (" + b.text + ")", func(s scene) truth { return both(a.eval(s), b.eval(s)) }}
}

func or(a, b cond) cond {
	return cond{"(" + a.text + ") || (" + b.text + ")", func(s scene) truth { return negate(both(negate(a.eval(s)), negate(b.eval(s)))) }}
}

// known are conditions over what planning knows.
func known() []cond {
	pull := func(s scene) pipeline.PullRequest {
		if s.event.PullRequest == nil {
			return pipeline.PullRequest{}
		}
		return *s.event.PullRequest
	}
	return []cond{
		{"true", func(scene) truth { return yes }},
		{"params.deploy", func(s scene) truth { return is(s.params["deploy"] == true) }},
		{`params.target == "production"`, func(s scene) truth { return is(s.params["target"] == "production") }},
		{"params.replicas > 2", func(s scene) truth { return is(s.params["replicas"].(int) > 2) }},
		{`branch == "main"`, func(s scene) truth { return is(s.event.Branch == "main") }},
		{`branch.startsWith("dev")`, func(s scene) truth { return is(strings.HasPrefix(s.event.Branch, "dev")) }},
		{`event.kind in ["push", "tag"]`, func(s scene) truth { return is(s.event.Kind == "push" || s.event.Kind == "tag") }},
		{`tag != ""`, func(s scene) truth { return is(s.event.Tag != "") }},
		{"event.pull_request.fork", func(s scene) truth { return is(pull(s).Fork) }},
		{`"hotfix" in event.pull_request.labels`, func(s scene) truth { return is(slices.Contains(pull(s).Labels, "hotfix")) }},
		{`changed("web/**")`, func(s scene) truth { return is(hasChanged(s.event, "web/**")) }},
		{`changed("*.md", "docs/**")`, func(s scene) truth { return is(hasChanged(s.event, "*.md", "docs/**")) }},
		{`env.MODE == "fast"`, func(s scene) truth { return is(s.mode == "fast") }},
		{"false", func(scene) truth { return no }},
	}
}

func hasChanged(e pipeline.Event, globs ...string) bool {
	return e.Changed == nil || slices.ContainsFunc(e.Changed, func(path string) bool {
		return slices.ContainsFunc(globs, func(g string) bool { return doublestar.MatchUnvalidated(g, path) })
	})
}

// onMatrix is a condition over a value of the leg.
func onMatrix(axis, value string) cond {
	return cond{fmt.Sprintf("matrix.%s == %q", axis, value), func(s scene) truth { return is(s.matrix[axis] == value) }}
}

// onStatus is a condition over the run so far.
func onStatus(states ...string) cond {
	return cond{fmt.Sprintf(`status in ["%s"]`, strings.Join(states, `", "`)), func(s scene) truth {
		if !s.running {
			return open
		}
		return is(slices.Contains(states, s.status))
	}}
}

// The outputs that generated tasks declare: v is a string, n an integer, b a boolean.
func strict(task, name string) string { return fmt.Sprintf("outputs[%q].%s", task, name) }

// onOutput is a condition over an output; without it the task cannot be decided.
func onOutput(task, name, op string, holds func(v any) bool) cond {
	return cond{strict(task, name) + op, func(s scene) truth {
		if !s.running {
			return open
		}
		v, ok := s.outputs[task][name]
		if !ok {
			return broken
		}
		return is(holds(v))
	}}
}

// orElse is a condition over an output that takes another value where there is none.
func orElse(task, other, want string) cond {
	return cond{fmt.Sprintf(`outputs[?%q].?v.orValue(%q) == %q`, task, other, want), func(s scene) truth {
		if !s.running {
			return open
		}
		v, ok := s.outputs[task]["v"]
		if !ok {
			v = other
		}
		return is(v == want)
	}}
}

// onOutputs are the conditions over the outputs of a task.
func onOutputs(task string) []cond {
	return []cond{
		orElse(task, "two", "one"),
		onOutput(task, "v", ` == "one"`, func(v any) bool { return v == "one" }),
		onOutput(task, "n", " > 2", func(v any) bool { return v.(int) > 2 }),
		onOutput(task, "b", "", func(v any) bool { return v == true }),
	}
}
