package show

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ottoci/otto/pipeline"
)

// EventText says what asks for a run: push to main at 3f2a1c9, 2 paths changed.
func EventText(e pipeline.Event) string {
	text := map[pipeline.EventKind]string{
		pipeline.EventPush:     "push" + prefixed(" to ", e.Branch),
		pipeline.EventTag:      "tag " + e.Tag,
		pipeline.EventSchedule: "schedule " + e.Cron,
		pipeline.EventManual:   "asked for by hand" + prefixed(", branch ", e.Branch),
		"":                     "asked for by hand",
	}[e.Kind]
	switch {
	case e.PullRequest != nil:
		text = pullText(e)
	case e.Upstream != nil:
		text = "run of " + e.Upstream.Project + prefixed(" that has ", e.Upstream.State)
	case text == "":
		text = string(e.Kind)
	}
	if len(e.SHA) > 0 {
		text += " at " + e.SHA[:min(len(e.SHA), 10)]
	}
	if e.Changed != nil {
		text += ", " + Count(len(e.Changed), "path") + " changed"
	}
	return clean(oneLine(text))
}

func pullText(e pipeline.Event) string {
	pr := e.PullRequest
	text := fmt.Sprintf("pull request %d", pr.Number)
	if pr.Draft {
		text = "draft of " + text
	}
	text += prefixed(" of ", e.Branch) + prefixed(" into ", pr.Base)
	if pr.Fork {
		text += ", from a fork"
	}
	if len(pr.Labels) > 0 {
		text += ", labelled " + strings.Join(pr.Labels, ", ")
	}
	return text
}

// ParamsText says the parameters of a plan: env=staging, fast=true.
func ParamsText(in *pipeline.Inputs) string {
	if in == nil {
		return ""
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(in.Params)) {
		parts = append(parts, name+"="+quoted(plain(in.Params[name])))
	}
	return clean(strings.Join(parts, ", "))
}

// NoStart says which part of `on` said no; empty if the event starts a run.
func NoStart(p *pipeline.Plan) string {
	t := p.Trigger
	if t.Starts || t == (pipeline.Trigger{}) { // a plan without one was asked for, and starts
		return ""
	}
	return clean(strings.Join(slices.DeleteFunc([]string{t.Filter, t.Reason}, func(w string) bool { return w == "" }), ": "))
}
