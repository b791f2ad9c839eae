package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	cron "github.com/netresearch/go-cron"
)

// triggersDecl is the `on` of a file: which events start a run.
type triggersDecl struct {
	at       *node
	push     *filterDecl
	pull     *filterDecl
	tag      *filterDecl
	upstream *filterDecl
	schedule []scheduleDecl
}

// filterDecl is what an event must be like.
type filterDecl struct {
	branches, paths, tags, labels, projects globs
	forks                                   val[bool]
}

type scheduleDecl struct {
	cron, zone val[string]
}

func triggersObject() object[triggersDecl] {
	filter := func(set func(*triggersDecl, *filterDecl)) func(*decoder, *triggersDecl, *node, *node) {
		return func(d *decoder, t *triggersDecl, k, v *node) { set(t, d.filter(k, v)) }
	}
	return object[triggersDecl]{what: `"on"`, doc: "Which events start a run. Asking by hand always does.", keys: []key[triggersDecl]{
		{"push", "Commits on a branch.", filterType("push"), filter(func(t *triggersDecl, f *filterDecl) { t.push = f })},
		{"pull_request", "A pull request; branches are those to merge into.", filterType("pull_request"),
			filter(func(t *triggersDecl, f *filterDecl) { t.pull = f })},
		{"tag", "A tag.", filterType("tag"), filter(func(t *triggersDecl, f *filterDecl) { t.tag = f })},
		{"schedule", "Points in time, as cron expressions.", schedulesType, func(d *decoder, t *triggersDecl, _, v *node) { t.schedule = d.schedules(v) }},
		{"manual", "Somebody asks for a run, which needs no trigger; the key says so.", filterType("manual"), func(d *decoder, _ *triggersDecl, k, v *node) { d.filter(k, v) }},
		{"upstream", "A run of another project has succeeded.", filterType("upstream"), filter(func(t *triggersDecl, f *filterDecl) { t.upstream = f })},
	}}
}

func filterObject(what string) object[filterDecl] {
	all := []key[filterDecl]{
		{"branches", "Patterns of branches, in order; ! in front says no.", globsType, func(d *decoder, f *filterDecl, _, v *node) { f.branches = d.globList(v, "a branch") }},
		{"paths", "Patterns of paths; one that has changed must match.", globsType, func(d *decoder, f *filterDecl, _, v *node) { f.paths = d.globList(v, "a path") }},
		{"tags", "Patterns of tags.", globsType, func(d *decoder, f *filterDecl, _, v *node) { f.tags = d.globList(v, "a tag") }},
		{"labels", "Patterns of labels; the pull request must have one that matches.", globsType, func(d *decoder, f *filterDecl, _, v *node) { f.labels = d.globList(v, "a label") }},
		{"forks", "Whether pull requests from forks start a run. Default: they do.", boolType, func(d *decoder, f *filterDecl, _, v *node) { f.forks = d.boolean(v, `"forks"`) }},
		{"projects", "Patterns of projects.", globsType, func(d *decoder, f *filterDecl, _, v *node) { f.projects = d.globList(v, "a project") }},
	}
	has := map[string][]string{
		"push": {"branches", "paths"}, "pull_request": {"branches", "paths", "labels", "forks"}, "tag": {"tags", "paths"}, "upstream": {"projects", "branches"},
	}
	return object[filterDecl]{what: "on." + what, doc: "What the event must be like.", keys: slices.DeleteFunc(all, func(k key[filterDecl]) bool {
		return !slices.Contains(has[what], k.name)
	})}
}

// triggers reads `on`: a mapping, or names of events.
func (d *decoder) triggers(k, n *node) *triggersDecl {
	t := &triggersDecl{}
	switch n.kind {
	case mappingKind:
		*t = decodeObject(d, d.lang.triggers, n)
	case stringKind, listKind:
		items := n.items
		if n.kind == stringKind {
			items = []*node{n}
		}
		for _, item := range items {
			if v, ok := d.str(item, "an event"); ok {
				d.bareTrigger(t, v)
			}
		}
	default:
		d.want(n, mappingKind, `"on"`)
	}
	t.at = k
	return t
}

func (d *decoder) bareTrigger(t *triggersDecl, v val[string]) {
	switch EventKind(v.v) {
	case EventPush:
		t.push = &filterDecl{}
	case EventPullRequest:
		t.pull = &filterDecl{}
	case EventTag:
		t.tag = &filterDecl{}
	case EventManual:
	default:
		x := d.add(badTrigger, v.at.at, "%q is no event that can be named without more", shorten(v.v, 40))
		x.Suggestion = "write push, pull_request, tag or manual"
		if near := nearest(v.v, []string{"push", "pull_request", "tag", "manual"}); near != "" {
			x.Suggestion = fmt.Sprintf("did you mean %q?", near)
		}
	}
}

func (d *decoder) filter(k, n *node) *filterDecl {
	if n.kind == nullKind || n.kind == boolKind && strings.EqualFold(n.text, "true") {
		return &filterDecl{}
	}
	f := decodeObject(d, filterObject(k.text), n)
	return &f
}

var zoneName = regexp.MustCompile(`^[A-Za-z]+([A-Za-z0-9_+-]*)(/[A-Za-z0-9_+-]+)*$`)

func scheduleObject() object[scheduleDecl] {
	return object[scheduleDecl]{what: "a schedule", doc: "A point in time that comes again and again.", keys: []key[scheduleDecl]{
		{"cron", "Minute, hour, day of the month, month, day of the week: 0 3 * * 1-5.", textType, func(d *decoder, s *scheduleDecl, _, v *node) { s.cron, _ = d.str(v, "a cron expression") }},
		{"timezone", "Name of a time zone, such as Europe/Berlin. Default: UTC.", textType, func(d *decoder, s *scheduleDecl, _, v *node) { s.zone, _ = d.str(v, "a time zone") }},
	}}
}

func (d *decoder) schedules(n *node) []scheduleDecl {
	out := []scheduleDecl{}
	d.list(n, "on.schedule", func(item *node) {
		s := decodeObject(d, d.lang.schedule, item)
		switch {
		case item.kind != mappingKind:
			return
		case s.cron.at == nil:
			d.add(missingKey, item.at, "a schedule needs a cron expression").Suggestion = `add cron: "0 3 * * *"`
			return
		case s.zone.at != nil && !zoneName.MatchString(s.zone.v):
			d.add(badTrigger, s.zone.at.at, "%q is not the name of a time zone", shorten(s.zone.v, 40)).Suggestion = "write one like Europe/Berlin"
		}
		if _, err := cron.ParseStandard(s.cron.v); err != nil || strings.Contains(s.cron.v, "TZ=") {
			d.add(badTrigger, s.cron.at.at, "%q is not a cron expression: %s", shorten(s.cron.v, 40), cronMessage(err)).
				Suggestion = `write five fields: minute, hour, day of the month, month, day of the week, as in "0 3 * * 1-5"`
		}
		out = append(out, s)
	})
	return out
}

func cronMessage(err error) string {
	if err == nil {
		return "the zone has a key of its own, timezone"
	}
	return strings.TrimPrefix(err.Error(), "cron: ")
}
