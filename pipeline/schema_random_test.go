package pipeline

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

type values = map[string]any

// keySamples are values of a key that may stand there, and values that both the schema and the decoder refuse.
type keySamples struct{ good, bad []any }

// samples has every key of every object but those that hold other objects of the file.
func samples() map[string]map[string]keySamples {
	text := keySamples{[]any{"a", "ü 1", "${{ branch }}x"}, []any{1, true, nil, []any{"a"}, values{"a": 1}, ""}}
	flag := keySamples{[]any{true, false, "${{ branch == '' }}"}, []any{"yes", 1, nil, []any{}}}
	duration := keySamples{[]any{"90s", "1h30m", "${{ 5 }}m"}, []any{nil, true, []any{"1m"}, values{}}}
	when := keySamples{[]any{"true", `branch == "main"`, true, false}, []any{3, nil, []any{"true"}, values{}}}
	env := keySamples{[]any{values{"A": "a", "B": 1, "C": true, "D": "${{ branch }}"}, values{}},
		[]any{"a", nil, []any{}, values{"1A": "x"}, values{"CI": "x"}, values{"OTTO_X": "x"}, values{"A": nil}, values{"A": []any{}}}}
	exits := keySamples{[]any{values{"2": "failed"}, values{"75": "Unstable", "0": "success"}},
		[]any{nil, "failed", values{"256": "failed"}, values{"x": "failed"}, values{"2": "bad"}}}
	requires := keySamples{[]any{values{"os": "linux", "cores": 2, "gpu": true, "x.y-z": "${{ 'a' }}"}, values{"memory": "2GiB", "tools": []any{"b", "a"}, "go": ">=1.25 <2"}},
		[]any{nil, "linux", []any{"linux"}, values{"os": []any{}}, values{"os": []any{1}}, values{"os": values{}}}}
	retries := keySamples{[]any{1, 10, values{"limit": 2}, values{"limit": 1, "on": []any{"lost", values{"exit": []any{75}}}, "delay": "5s"}, "${{ 2 }}"},
		[]any{0, 11, 1.5, true, nil, []any{1}, values{"on": []any{"failed"}}, values{"limit": 1, "on": []any{"bad"}}, values{"limit": 1, "on": []any{}}, values{"limit": 1, "wait": "1s"}}}
	image := keySamples{[]any{values{"name": "golang:1.26", "pull": "always", "user": 7}, "golang:1.26", "golang:${{ 1 }}"}, []any{1, nil, true, []any{"a"}}}
	shell := keySamples{[]any{"bash", "python3 -u", []any{"python3", "-u"}}, []any{1, nil, true, values{}}}
	isolation := keySamples{[]any{"S1", ">=S2", ">= S3"}, []any{2, nil, true, "s2", ">S2", "S5", []any{"S1"}}}
	limits := keySamples{[]any{values{"memory": "2GiB", "cpu": 1.5}, values{"processes": 100, "open_files": 64, "disk": "10G", "output": "1MiB"}, values{}},
		[]any{1, nil, "2GiB", values{"memory": 2}, values{"cpu": "2"}, values{"processes": 0}, values{"processes": 1.5}, values{"ram": "2GiB"}}}
	checkout := keySamples{[]any{true, false, values{"depth": 1}, values{"depth": "all", "submodules": true, "lfs": false}, values{}},
		[]any{"yes", 1, nil, []any{}, values{"depth": 0}, values{"depth": "some"}, values{"deep": 1}}}
	onLost := keySamples{[]any{"retry", "fail", "${{ 'fail' }}"}, []any{"maybe", true, nil, []any{"fail"}}}
	globs := keySamples{[]any{"main", []any{"release/**", "!x"}}, []any{1, true, values{"a": 1}}}
	count := keySamples{[]any{1, 1000, "${{ 3 }}"}, []any{"1", true, nil, []any{1}}}
	needs := keySamples{[]any{[]any{}}, []any{1, nil, true, values{"a": 1}}}
	concurrency := keySamples{[]any{"g", values{"group": "g"}, values{"group": "g", "limit": 2, "on_conflict": "skip"}},
		[]any{1, nil, "", values{"limit": 2}, values{"group": "g", "size": 1}, values{"group": "g", "limit": "2"}}}
	outputs := keySamples{[]any{[]any{"a", "b"}, values{"a": "string", "b": "json"}}, []any{1, nil, "a", true}}
	pool := keySamples{[]any{"gpu", "a.b-c_1", "${{ 'gpu' }}"}, []any{1, nil, true, "", "-a", "a b", []any{"gpu"}}}
	task := map[string]keySamples{"checkout": checkout, "isolation": isolation, "limits": limits, "when": when, "needs": needs, "image": image, "shell": shell, "concurrency": concurrency, "outputs": outputs, "env": env,
		"requires": requires, "pool": pool, "timeout": duration, "allow_failure": flag, "always": flag, "exit_codes": exits, "retries": retries, "on_lost": onLost,
		"environment": {[]any{"prod"}, []any{1, nil, true, ""}}}
	return map[string]map[string]keySamples{
		"file":     {"name": text, "env": env, "exit_codes": exits},
		"defaults": {"checkout": checkout, "isolation": isolation, "limits": limits, "image": image, "shell": shell, "requires": requires, "pool": pool, "timeout": duration, "retries": retries, "on_lost": onLost},
		"task":     task,
		"stage":    task,
		"group":    {"always": flag, "when": when, "needs": needs, "name": text},
		"step": {"name": text, "when": when, "shell": shell, "env": env, "dir": {[]any{"web", "a/b"}, []any{1, nil, true}}, "timeout": duration,
			"allow_failure": flag, "always": flag, "exit_codes": exits},
		"param": {"type": {[]any{"string"}, []any{1, nil, true, []any{}}}, "default": {[]any{"abc"}, nil}, "enum": {[]any{[]any{"abc", "d"}}, []any{"abc", 1, nil}},
			"pattern": {[]any{"[a-d]*"}, []any{1, nil, true}}, "min": {[]any{0, 1}, []any{"1", true, nil}}, "max": {[]any{3, 9.5}, []any{"1", nil}},
			"description": {[]any{"what"}, []any{1, nil}}},
		"push":         {"branches": globs, "paths": globs},
		"pull_request": {"branches": globs, "paths": globs, "labels": globs, "forks": {[]any{true, false}, []any{"no", 1}}},
		"tag":          {"tags": globs, "paths": globs},
		"upstream":     {"projects": globs, "branches": globs},
		"schedule":     {"cron": {[]any{"0 3 * * *"}, []any{1, nil, true}}, "timezone": {[]any{"Europe/Berlin"}, []any{1, nil, true}}},
		"environment":  {"env": env, "concurrency": count},
		"protection":   {"branches": globs, "tags": globs},
	}
}

// randomFile makes files, and remembers their objects for a mistake in one of them.
type randomFile struct {
	*rand.Rand
	samples map[string]map[string]keySamples
	objects []madeObject
	names   int
}

type madeObject struct {
	kind string
	m    values
	must []string // keys that it needs
}

func (r *randomFile) object(kind string, must values) values {
	m := values{}
	for _, key := range sortedKeys(r.samples[kind]) {
		if r.IntN(3) == 0 {
			good := r.samples[kind][key].good
			m[key] = good[r.IntN(len(good))]
		}
	}
	for key, v := range must {
		m[key] = v
	}
	if m["environment"] != nil {
		delete(m, "concurrency")
	}
	r.objects = append(r.objects, madeObject{kind, m, sortedKeys(must)})
	return m
}

func (r *randomFile) name(what string) string {
	r.names++
	return fmt.Sprintf("%s %d", what, r.names)
}

func (r *randomFile) steps() []any {
	var out []any
	for range 1 + r.IntN(2) {
		out = append(out, r.object("step", values{"sh": []any{"./a", true}[r.IntN(2)]}))
	}
	return out
}

func (r *randomFile) stage(last bool) any {
	kind := []string{"parallel", "fanout", "linear", "tasks", "steps", "steps"}[r.IntN(6)]
	var s values
	if kind == "steps" {
		s = r.object("stage", values{"stage": r.name("stage"), "steps": r.steps()})
		if r.IntN(3) == 0 {
			s["matrix"] = []any{values{"n": []any{1, 2}}, []any{values{"n": 1}}, values{"n": []any{1}, "include": []any{values{"n": 3}}}}[r.IntN(3)]
		}
	} else {
		var tasks []any
		for range 1 + r.IntN(2) {
			t := r.object("task", values{"task": r.name("task"), "steps": r.steps()})
			if last {
				delete(t, "needs")
			}
			tasks = append(tasks, t)
		}
		s = r.object("group", values{kind: tasks})
		if s["name"] != nil {
			s["name"] = r.name("group")
		}
		if kind == "tasks" && r.IntN(2) == 0 {
			s["mode"] = []any{"linear", "fanout", "${{ 'parallel' }}"}[r.IntN(3)]
		}
	}
	if s["always"] != nil || last { // what always runs has no needs
		delete(s, "needs")
		for _, task := range anyList(s[kind]) {
			delete(task.(values), "needs")
		}
	}
	return s
}

func anyList(v any) []any {
	list, _ := v.([]any)
	return slices.DeleteFunc(slices.Clone(list), func(item any) bool { _, isMap := item.(values); return !isMap })
}

func (r *randomFile) file() values {
	body := values{}
	if r.IntN(3) == 0 {
		body["steps"] = r.steps()
	} else {
		body["stages"] = []any{r.stage(false), r.stage(false)}
	}
	f := r.object("file", body)
	f["environments"] = values{"prod": r.object("environment", values{"protection": r.object("protection", nil)}), "none": nil}
	for _, list := range []string{"on_failure", "always"} {
		if r.IntN(3) == 0 {
			f[list] = []any{r.stage(true)}
		}
	}
	if r.IntN(2) == 0 {
		f["defaults"] = r.object("defaults", nil)
	}
	if r.IntN(2) == 0 {
		f["params"] = values{"a": r.object("param", nil), "b": true, "c": nil, "d": 3}
	}
	if r.IntN(2) == 0 {
		on := values{"manual": nil, "schedule": []any{r.object("schedule", values{"cron": "0 3 * * *"})}}
		for _, event := range []string{"push", "pull_request", "tag", "upstream"} {
			on[event] = r.object(event, nil)
		}
		f["on"] = on
	}
	return f
}

// spoil makes one mistake, and says which.
func (r *randomFile) spoil() string {
	o := r.objects[r.IntN(len(r.objects))]
	switch keys := sortedKeys(r.samples[o.kind]); r.IntN(4) {
	case 0:
		o.m["zzz"] = "a"
		return o.kind + " with an unknown key"
	case 1:
		if len(o.must) > 0 && o.kind != "group" && o.kind != "environment" {
			key := o.must[r.IntN(len(o.must))]
			delete(o.m, key)
			return o.kind + " without " + key
		}
	case 2:
		for _, key := range []string{"cron", "task", "stages", "sh", "protection"} {
			if _, has := r.samples[o.kind][key]; !has && !slices.Contains(o.must, key) {
				o.m[key] = "x"
				return o.kind + " with a misplaced " + key
			}
		}
	default:
		key := keys[r.IntN(len(keys))]
		if bad := r.samples[o.kind][key].bad; len(bad) > 0 {
			v := bad[r.IntN(len(bad))]
			o.m[key] = v
			return fmt.Sprintf("%s with %s: %v", o.kind, key, v)
		}
	}
	o.m["a b"] = nil
	return o.kind + " with a strange key"
}

// The schema and the decoder agree on files with any of the keys, as they are and with one mistake.
func TestSchemaAgreesOnRandomFiles(t *testing.T) {
	t.Parallel()
	s := compiledSchema(t)
	for seed := range uint64(300) {
		r := &randomFile{Rand: rand.New(rand.NewPCG(seed, 1)), samples: samples()}
		f := r.file()
		if err := both(t, s, f); err != "" {
			t.Fatalf("seed %d: a good file: %s", seed, err)
		}
		what := r.spoil()
		if err := bothRefuse(t, s, f); err != "" {
			t.Errorf("seed %d: a %s: %s", seed, what, err)
		}
	}
}

// Every key has a sample, or is made by hand.
func TestEveryKeyHasSamples(t *testing.T) {
	t.Parallel()
	l, all := newLanguage(), samples()
	made := []string{"task", "stage", "steps", "matrix", "stages", "on_failure", "always", "on", "params", "environments", "defaults", "protection", "sh",
		"parallel", "fanout", "linear", "tasks", "mode", "required", "templates", "use", "with", "may_add",
		"services", "fallback"} // only with an image: see testdata/plans/containers.txtar
	for kind, names := range map[string][]string{"file": l.file.names(), "task": l.task.names(), "group": {"when", "needs", "name", "always"}, "step": l.step.names(),
		"param": l.param.names(), "defaults": l.defaults.names(), "schedule": l.schedule.names(), "environment": l.environment.names(),
		"protection": l.protection.names(), "push": filterObject("push").names(), "pull_request": filterObject("pull_request").names(),
		"tag": filterObject("tag").names(), "upstream": filterObject("upstream").names()} {
		for _, name := range names {
			if _, ok := all[kind][name]; !ok && !slices.Contains(made, name) {
				t.Errorf("%s.%s has no sample", kind, name)
			}
		}
	}
}

type validator interface{ Validate(v any) error }

func both(t *testing.T, s validator, f values) string {
	t.Helper()
	body, diags, invalid := judgeBoth(t, s, f)
	if diags.HasErrors() || invalid != nil {
		return fmt.Sprintf("%s\nthe decoder says\n%s\nthe schema %v", body, diags, invalid)
	}
	return ""
}

func bothRefuse(t *testing.T, s validator, f values) string {
	t.Helper()
	body, diags, invalid := judgeBoth(t, s, f)
	if !diags.HasErrors() || invalid == nil {
		return fmt.Sprintf("%s\nthe decoder says\n%s\nthe schema %v", body, diags, invalid)
	}
	return ""
}

func judgeBoth(t *testing.T, s validator, f values) (body []byte, diags Diagnostics, invalid error) {
	t.Helper()
	body, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	_, diags = Compile(File{Name: "Ottofile.yaml", Data: body}, Facts{})
	return body, diags, s.Validate(instance(t, body))
}
