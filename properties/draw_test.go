package properties

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/ottoci/otto/pipeline"
)

// drawer draws an Ottofile that is valid by construction. The first of all choices is the plainest, so that a file that fails
// shrinks to what matters.
type drawer struct {
	*rapid.T
	f     *ottofile
	names int
	seen  []place // tasks so far, in the order of the file
}

// place is a task that later ones may need or read.
type place struct {
	stage *stage
	task  *task
}

func drawOttofile(t *rapid.T) *ottofile {
	d := &drawer{T: t, f: &ottofile{}}
	d.facts()
	d.f.mode = pick(d, "mode", "slow", "fast")
	d.f.exits, d.f.retries = d.exits(8), d.retries(8)
	for _, name := range []string{"staging", "production"} {
		d.f.environments = append(d.f.environments, environment{name, pick(d, "protected", "", "", "main", "dev/**"), d.IntRange(1, 2)})
	}
	for range d.IntRange(0, 4) {
		d.stage(ordinary)
	}
	for range d.IntRange(0, 5) - 3 {
		d.stage(onFailure)
	}
	for range d.IntRange(0, 5) - 3 {
		d.stage(atTheEnd)
	}
	return d.f
}

func pick[V any](d *drawer, what string, from ...V) V {
	return from[rapid.IntRange(0, len(from)-1).Draw(d.T, what)]
}

// oneIn is true now and then.
func (d *drawer) oneIn(n int) bool { return rapid.IntRange(1, n).Draw(d.T, "one in") == n }

// IntRange draws a number; it shrinks to the first.
func (d *drawer) IntRange(from, to int) int { return rapid.IntRange(from, to).Draw(d.T, "number") }

// events are all kinds of events that a run may begin with.
func events() map[string]pipeline.Event {
	return map[string]pipeline.Event{
		"manual":    {Kind: pipeline.EventManual, Branch: "main"},
		"push main": {Kind: pipeline.EventPush, Branch: "main", Changed: []string{"web/index.html", "README.md"}},
		"push dev":  {Kind: pipeline.EventPush, Branch: "dev/x", Changed: []string{"docs/a.md"}},
		"push any":  {Kind: pipeline.EventPush, Branch: "feature"},
		"skip ci":   {Kind: pipeline.EventPush, Branch: "main", Message: "wip [skip ci]"},
		"pull":      {Kind: pipeline.EventPullRequest, Branch: "dev/y", PullRequest: &pipeline.PullRequest{Number: 7, Base: "main"}},
		"fork": {Kind: pipeline.EventPullRequest, Branch: "main", Changed: []string{"web/a.js"},
			PullRequest: &pipeline.PullRequest{Number: 8, Base: "main", Fork: true, Labels: []string{"hotfix"}}},
		"tag":      {Kind: pipeline.EventTag, Tag: "v1.2.0"},
		"schedule": {Kind: pipeline.EventSchedule, Branch: "main", Cron: "0 3 * * *"},
		"upstream": {Kind: pipeline.EventUpstream, Branch: "main", Upstream: &pipeline.Upstream{Project: "base", Run: 4, State: "succeeded"}},
	}
}

func (d *drawer) facts() {
	name := pick(d, "event", "manual", "manual", "push main", "push dev", "push any", "pull", "fork", "tag", "schedule", "upstream", "skip ci")
	d.f.facts = pipeline.Facts{Event: events()[name], Params: map[string]any{}}
	d.f.params = map[string]any{"deploy": d.oneIn(2), "target": pick(d, "target", "staging", "production"), "replicas": d.IntRange(1, 4)}
	for name, v := range d.f.params {
		d.f.facts.Params[name] = v
	}
	if d.oneIn(3) { // without it a push, pull request or tag starts
		d.f.on = &filter{
			branch: pick(d, "branch", "", "main", "dev/**"), path: pick(d, "path", "", "", "web/**"),
			noForks: d.oneIn(4), tag: d.oneIn(2), cron: d.oneIn(2),
		}
	}
}

func (d *drawer) exits(n int) map[int]string {
	if !d.oneIn(n) {
		return nil
	}
	return map[int]string{pick(d, "code", 2, 7, 75): pick(d, "means", "failed", "unstable", "succeeded", "aborted")}
}

func (d *drawer) retries(n int) *retries {
	if !d.oneIn(n) {
		return nil
	}
	out := &retries{limit: d.IntRange(1, 2)}
	switch d.IntRange(0, 2) {
	case 1:
		out.on = []string{"failed"}
	case 2:
		out.on, out.exit = []string{"timeout"}, []int{pick(d, "retried", 75, 1)}
	}
	return out
}

func (d *drawer) name(prefix string) string {
	d.names++
	return fmt.Sprintf(pick(d, "spelling", "%s%d", "%s %d"), prefix, d.names)
}

func (d *drawer) stage(part section) {
	s := &stage{name: d.name("s"), part: part, mode: pipeline.Parallel, single: d.oneIn(3)}
	d.f.stages = append(d.f.stages, s)
	if part == ordinary && d.oneIn(8) {
		s.always = true
	}
	if s.single {
		s.tasks = []*task{{name: s.name}}
		d.task(s, s.tasks[0])
		s.when, s.needs, s.needy = s.tasks[0].when, s.tasks[0].needs, s.tasks[0].needy
		s.tasks[0].when, s.always = nil, s.always || s.tasks[0].always
		if s.mode = pipeline.Linear; s.tasks[0].axes != nil {
			s.mode = pipeline.Parallel
		}
		return
	}
	s.mode, s.inFront = pick(d, "mode", pipeline.Parallel, pipeline.Linear, pipeline.Fanout), d.oneIn(2)
	if part == ordinary && !s.always && d.oneIn(10) {
		s.needs, s.needy = d.needs(s), true
	}
	if d.oneIn(6) {
		s.when = d.condition(d.readable(s, &task{}), nil)
	}
	for range d.IntRange(1, 4) {
		t := &task{name: d.name("t")}
		s.tasks = append(s.tasks, t)
		d.task(s, t)
	}
}

// needs draws what a task of a stage waits for: tasks and stages before, or tasks beside it.
func (d *drawer) needs(s *stage) (out []string) {
	var from []string
	for _, p := range d.seen {
		from = append(from, p.task.name)
		if p.stage != s && !p.stage.single {
			from = append(from, p.stage.name)
		}
		for _, l := range p.task.legs() {
			if p.task.axes != nil {
				from = append(from, l.name)
			}
		}
	}
	for range min(len(from), d.IntRange(0, 2)) {
		if name := pick(d, "need", from...); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// readable lists the tasks whose outputs a task may read: those that are final before it starts, by what it waits for itself.
func (d *drawer) readable(s *stage, t *task) (out []string) {
	needs, needy := t.waits(s)
	for _, p := range d.seen {
		_, alsoNeedy := p.task.waits(p.stage)
		before := p.stage != s || s.mode == pipeline.Linear && !alsoNeedy
		for _, l := range p.task.legs() {
			if p.task.outputs && (!needy && before || slices.Contains(needs, p.task.name) || slices.Contains(needs, l.name)) {
				out = append(out, l.name)
			}
		}
	}
	return out
}

func (d *drawer) task(s *stage, t *task) {
	if d.oneIn(6) {
		t.axes = []axis{{"os", []string{"linux", "mac"}}, {"go", []string{"1.25", "1.26", "1.27"}}}[:d.IntRange(1, 2)]
	}
	t.always = d.oneIn(10)
	if s.part == ordinary && !s.always && !(s.single && t.always) && s.when == nil && d.oneIn(4) {
		t.needs, t.needy = d.needs(s), true
	}
	readable := d.readable(s, t)
	if d.oneIn(3) {
		t.when = d.condition(readable, t.axes)
	}
	switch d.IntRange(0, 11) {
	case 10:
		t.environment = pick(d, "environment", "staging", "production")
	case 11:
		name := pick(d, "group", "a", "b")
		t.group = &pipeline.Concurrency{Group: name, Limit: map[string]int{"a": 1, "b": 2}[name],
			OnConflict: pick(d, "on_conflict", pipeline.ConflictWait, pipeline.ConflictSkip, pipeline.ConflictAbortOlder)}
	}
	t.outputs = d.oneIn(2)
	if len(readable) > 0 && d.oneIn(6) {
		t.late = pick(d, "late", readable...)
	}
	t.allowFailure = d.oneIn(8)
	t.exits, t.retries = d.exits(8), d.retries(6)
	for range d.IntRange(1, 3) {
		t.steps = append(t.steps, d.step(t, readable))
	}
	d.seen = append(d.seen, place{s, t})
}

func (d *drawer) step(t *task, readable []string) step {
	s := step{allowFailure: d.oneIn(10), always: d.oneIn(8), exits: d.exits(12)}
	if t.outputs && d.oneIn(2) {
		s.lines = append(s.lines, pick(d, "output",
			`echo 'v=one' >> "$OTTO_OUTPUT"`, `echo 'v=two' >> "$OTTO_OUTPUT"`, `echo '{"n": 4, "b": true}' >> "$OTTO_OUTPUT"`, `echo 'n=1' >> "$OTTO_OUTPUT"`))
	}
	switch d.IntRange(0, 7) {
	case 5:
		if t.outputs && d.oneIn(2) {
			s.lines = []string{firstSays}
		}
		s.lines = append(s.lines, firstFails)
	case 6, 7:
		s.lines = append(s.lines, fmt.Sprintf("exit %d", pick(d, "exit", 1, 2, 3, 7, 75)))
	default:
		s.lines = append(s.lines, "true")
	}
	if d.oneIn(5) {
		s.when = d.condition(readable, t.axes)
	}
	return s
}

// condition draws one, over what planning knows and what only the run will.
func (d *drawer) condition(readable []string, axes []axis) *cond {
	atoms := known()
	for _, a := range axes {
		atoms = append(atoms, onMatrix(a.name, a.values[0]))
	}
	var late []cond
	late = append(late, onStatus("succeeded", "skipped"), onStatus("failed"), onStatus("unstable", "failed", "aborted"))
	for _, name := range readable {
		late = append(late, onOutputs(name)...)
	}
	c := pick(d, "condition", atoms...)
	if d.oneIn(2) {
		c = pick(d, "late condition", late...)
	}
	switch d.IntRange(0, 5) {
	case 3:
		c = not(c)
	case 4:
		c = and(c, pick(d, "and", append(atoms, late...)...))
	case 5:
		c = or(c, pick(d, "or", append(atoms, late...)...))
	}
	return &c
}
