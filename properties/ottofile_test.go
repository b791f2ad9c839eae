package properties

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ottoci/otto/pipeline"
)

// ottofile is an Ottofile that the generator made, with what it knows of its meaning.
type ottofile struct {
	on           *filter // nil: no `on`
	mode         string  // the variable MODE
	exits        map[int]string
	retries      *retries // of defaults
	environments []environment
	stages       []*stage // the ordinary ones, those of on_failure, those of always
	facts        pipeline.Facts
	params       map[string]any // their values
}

// filter is an `on` of which only pushes have patterns.
type filter struct {
	branch, path string // patterns of push; "" is none
	noForks      bool
	tag, cron    bool
}

type environment struct {
	name   string
	branch string // the pattern of its protection, or ""
	limit  int
}

type section string

const (
	ordinary  section = ""
	onFailure section = "on_failure"
	atTheEnd  section = "always"
)

// stage is a group of tasks or, if it is single, one task or the legs of one.
type stage struct {
	name    string
	part    section
	mode    pipeline.Mode
	single  bool
	always  bool
	when    *cond
	needs   []string
	needy   bool // has needs, if only an empty list
	tasks   []*task
	inFront bool // the list stands below its mode: `parallel: […]`
}

type task struct {
	name         string
	axes         []axis
	when         *cond
	needs        []string
	needy        bool
	environment  string
	group        *pipeline.Concurrency
	outputs      bool
	late         string // the task whose output v the variable LATE takes, or ""
	allowFailure bool
	always       bool
	exits        map[int]string
	retries      *retries
	steps        []step
}

type axis struct {
	name   string
	values []string
}

type retries struct {
	limit int
	on    []string
	exit  []int
}

type step struct {
	lines        []string
	when         *cond
	allowFailure bool
	always       bool
	exits        map[int]string
}

// tree is the file as it is written.
func (f *ottofile) tree() object {
	environments := object{}
	for _, e := range f.environments {
		body := object{}.with("concurrency", e.limit)
		if e.branch != "" {
			body = body.with("protection", object{{"branches", []any{e.branch}}})
		}
		environments = append(environments, entry{e.name, body})
	}
	out := object{{"name", "generated"}}.
		with("on", f.on.tree()).
		with("params", object{
			{"deploy", false},
			{"target", object{{"type", "choice"}, {"enum", []any{"staging", "production"}}, {"default", "staging"}}},
			{"replicas", object{{"type", "integer"}, {"min", 1}, {"max", 9}, {"default", 2}}},
		}).
		with("env", object{{"MODE", f.mode}, {"TARGET", "${{ params.target }}"}}).
		with("exit_codes", exitTree(f.exits)).
		with("environments", environments)
	if f.retries != nil {
		out = out.with("defaults", object{{"retries", f.retries.tree()}})
	}
	lists := map[section][]any{}
	for _, s := range f.stages {
		lists[s.part] = append(lists[s.part], s.tree())
	}
	if lists[ordinary] == nil {
		lists[ordinary] = []any{}
	}
	return out.with("stages", lists[ordinary]).with("on_failure", lists[onFailure]).with("always", lists[atTheEnd])
}

func (f *filter) tree() any {
	if f == nil {
		return nil
	}
	push := object{}
	if f.branch != "" {
		push = push.with("branches", []any{f.branch})
	}
	if f.path != "" {
		push = push.with("paths", []any{f.path})
	}
	out := object{{"push", push}, {"pull_request", object{}}}
	if f.noForks {
		out[1].value = object{{"forks", false}}
	}
	if f.tag {
		out = append(out, entry{"tag", object{}})
	}
	if f.cron {
		out = append(out, entry{"schedule", []any{object{{"cron", "0 3 * * *"}}}})
	}
	return out
}

func exitTree(exits map[int]string) object {
	out := object{}
	for code := range 256 {
		if means, ok := exits[code]; ok {
			out = append(out, entry{strconv.Itoa(code), means})
		}
	}
	return out
}

func (r *retries) tree() any {
	if r == nil {
		return nil
	}
	if r.on == nil && r.exit == nil {
		return r.limit
	}
	on := []any{}
	for _, what := range r.on {
		on = append(on, what)
	}
	if r.exit != nil {
		codes := []any{}
		for _, code := range r.exit {
			codes = append(codes, code)
		}
		on = append(on, object{{"exit", codes}})
	}
	return object{{"limit", r.limit}, {"on", on}}
}

func (s *stage) tree() object {
	if s.single {
		t := s.tasks[0]
		out := append(object{{"stage", t.name}}, t.body()...)
		return withGate(out.with("always", s.always), s.when, s.needs, s.needy)
	}
	tasks := []any{}
	for _, t := range s.tasks {
		body := withGate(append(object{{"task", t.name}}, t.body()...), t.when, t.needs, t.needy)
		tasks = append(tasks, body.with("always", t.always))
	}
	out := object{{"stage", s.name}, {"mode", string(s.mode)}, {"tasks", tasks}}
	if s.inFront {
		out = object{{string(s.mode), tasks}, {"name", s.name}}
	}
	return withGate(out.with("always", s.always), s.when, s.needs, s.needy)
}

func withGate(o object, when *cond, needs []string, needy bool) object {
	if when != nil {
		o = append(o, entry{"when", when.text})
	}
	if needy {
		names := []any{}
		for _, name := range needs {
			names = append(names, name)
		}
		o = append(o, entry{"needs", names})
	}
	return o
}

func (t *task) body() object {
	matrix, env := object{}, object{}
	for _, a := range t.axes {
		values := []any{}
		for _, v := range a.values {
			values = append(values, v)
		}
		matrix = append(matrix, entry{a.name, values})
		env = append(env, entry{"LEG_" + strings.ToUpper(a.name), fmt.Sprintf("${{ matrix.%s }}", a.name)})
	}
	if t.late != "" {
		env = append(env, entry{"LATE", fmt.Sprintf("is ${{ %s }}", strict(t.late, "v"))})
	}
	steps := []any{}
	for _, s := range t.steps {
		body := object{{"sh", strings.Join(s.lines, "\n")}}
		if s.when != nil {
			body = append(body, entry{"when", s.when.text})
		}
		steps = append(steps, body.with("allow_failure", s.allowFailure).with("always", s.always).with("exit_codes", exitTree(s.exits)))
	}
	out := object{}.with("matrix", matrix).with("environment", t.environment)
	if t.group != nil {
		out = append(out, entry{"concurrency", object{{"group", t.group.Group}, {"limit", t.group.Limit}, {"on_conflict", string(t.group.OnConflict)}}})
	}
	if t.outputs {
		out = append(out, entry{"outputs", object{{"v", "string"}, {"n", "integer"}, {"b", "boolean"}}})
	}
	return out.with("env", env).with("allow_failure", t.allowFailure).with("exit_codes", exitTree(t.exits)).
		with("retries", t.retries.tree()).with("steps", steps)
}
