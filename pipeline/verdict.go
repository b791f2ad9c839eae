package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// skipMark in the message of a commit says that the commit starts nothing. What starts by the clock, or after another project, is not
// about the commit: a nightly run would else stop until somebody commits again.
var skipMark = regexp.MustCompile(`(?i)\[(skip ci|ci skip|no ci|skip otto|otto skip)\]`)

func (e Event) isSkipped() bool {
	return slices.Contains([]EventKind{EventPush, EventTag, EventPullRequest}, e.Kind) && skipMark.MatchString(e.Message)
}

// trigger says whether an event starts a run, and which part of `on` decided. A file without `on` runs for every push, pull
// request and tag; a run that somebody asks for always starts.
func (t *triggersDecl) trigger(e Event) Trigger {
	switch {
	case e.Kind == EventManual:
		return Trigger{Starts: true, Reason: "somebody asked for it"}
	case e.isSkipped():
		return Trigger{Filter: "message", Reason: fmt.Sprintf("the message of the commit says %s", skipMark.FindString(e.Message))}
	case t == nil && (e.Kind == EventSchedule || e.Kind == EventUpstream):
		return Trigger{Filter: "on", Reason: fmt.Sprintf("the file has no on.%s", e.Kind)}
	case t == nil:
		return Trigger{Starts: true, Reason: "the file has no on: every push, pull request and tag starts a run"}
	}
	switch e.Kind {
	case EventPush:
		return t.push.pass("on.push", "the branch", e.Branch, func(f *filterDecl) (string, globs) { return "branches", f.branches }, e)
	case EventTag:
		return t.tag.pass("on.tag", "the tag", e.Tag, func(f *filterDecl) (string, globs) { return "tags", f.tags }, e)
	case EventPullRequest:
		return t.pullRequest(e)
	case EventSchedule:
		return t.cron(e)
	}
	return t.after(e)
}

// pass holds an event against the names of its filter, and then what changed against its paths.
func (f *filterDecl) pass(on, what, name string, of func(*filterDecl) (string, globs), e Event) Trigger {
	if f == nil {
		return Trigger{Filter: "on", Reason: fmt.Sprintf("the file has no %s", on)}
	}
	key, patterns := of(f)
	if len(patterns) > 0 && !patterns.match(name) {
		return Trigger{Filter: on + "." + key, Reason: fmt.Sprintf("%s %q does not match %s", what, name, patterns.words())}
	}
	if len(f.paths) > 0 && e.Changed != nil && !slices.ContainsFunc(e.Changed, f.paths.match) {
		return Trigger{Filter: on + ".paths", Reason: fmt.Sprintf("none of %s matches %s", countPaths(e.Changed), f.paths.words())}
	}
	why := "the file has " + on
	if len(patterns) > 0 {
		why = fmt.Sprintf("%s %q matches %s", what, name, patterns.words())
	} else if len(f.paths) > 0 && e.Changed != nil {
		i := slices.IndexFunc(e.Changed, f.paths.match)
		why = fmt.Sprintf("%q has changed, and matches %s", e.Changed[i], f.paths.words())
	}
	return Trigger{Starts: true, Filter: on, Reason: why}
}

func countPaths(paths []string) string {
	if len(paths) == 1 {
		return fmt.Sprintf("the 1 changed path (%s)", paths[0])
	}
	return fmt.Sprintf("the %d changed paths", len(paths))
}

func (t *triggersDecl) pullRequest(e Event) Trigger {
	pr := PullRequest{}
	if e.PullRequest != nil {
		pr = *e.PullRequest
	}
	out := t.pull.pass("on.pull_request", "the branch to merge into", pr.Base, func(f *filterDecl) (string, globs) { return "branches", f.branches }, e)
	switch {
	case !out.Starts:
		return out
	case t.pull.forks.at != nil && !t.pull.forks.v && pr.Fork:
		return Trigger{Filter: "on.pull_request.forks", Reason: "it comes from a fork, and forks is false"}
	case len(t.pull.labels) > 0 && !slices.ContainsFunc(pr.Labels, t.pull.labels.match):
		why := "it has no labels, and one must match "
		if len(pr.Labels) > 0 {
			why = "none of its labels (" + strings.Join(pr.Labels, ", ") + ") matches "
		}
		return Trigger{Filter: "on.pull_request.labels", Reason: why + t.pull.labels.words()}
	}
	return out
}

func (t *triggersDecl) cron(e Event) Trigger {
	var known []string
	for _, s := range t.schedule {
		if s.cron.v == e.Cron || e.Cron == "" {
			return Trigger{Starts: true, Filter: "on.schedule", Reason: fmt.Sprintf("the schedule %q", s.cron.v)}
		}
		known = append(known, fmt.Sprintf("%q", s.cron.v))
	}
	if len(known) == 0 {
		return Trigger{Filter: "on", Reason: "the file has no on.schedule"}
	}
	return Trigger{Filter: "on.schedule", Reason: fmt.Sprintf("the schedule %q is none of %s", e.Cron, strings.Join(known, ", "))}
}

func (t *triggersDecl) after(e Event) Trigger {
	up := Upstream{}
	if e.Upstream != nil {
		up = *e.Upstream
	}
	out := t.upstream.pass("on.upstream", "the project", up.Project, func(f *filterDecl) (string, globs) { return "projects", f.projects }, e)
	if out.Starts && up.State != "" && up.State != "succeeded" {
		return Trigger{Filter: "on.upstream", Reason: fmt.Sprintf("the run of %s is %s, and not succeeded", up.Project, up.State)}
	}
	if out.Starts && len(t.upstream.branches) > 0 && !t.upstream.branches.match(e.Branch) {
		return Trigger{Filter: "on.upstream.branches", Reason: fmt.Sprintf("the branch %q does not match %s", e.Branch, t.upstream.branches.words())}
	}
	return out
}
