package show

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ottoci/otto/pipeline"
)

// task tells a task: first what shares a line, then what has its own, then its steps.
func (b *builder) task(s *pipeline.Stage, i int, ptr string) Item {
	t := &s.Tasks[i]
	item := Item{Kind: KindTask, Pointer: ptr, Name: t.Name}
	item.Verdict, item.Why = FateOfTask(s, i)
	item.Facts = slices.Concat(b.howTask(t, ptr), b.withTask(t, ptr))
	for n := range t.Steps {
		item.Items = append(item.Items, b.step(t, n, fmt.Sprintf("%s/steps/%d", ptr, n)))
	}
	return item
}

// howTask says where a task runs, for how long and how often.
func (b *builder) howTask(t *pipeline.Task, ptr string) []Fact {
	f := facts{builder: b, ptr: ptr}
	f.add(Brief, "image", "image", t.Image)
	f.container(t)
	if t.Isolation > 0 {
		f.add(Brief, "isolation", "isolation", fmt.Sprintf("isolation >=S%d", t.Isolation))
	}
	if m := t.Limits; m != nil {
		for _, x := range limitTexts(m) {
			f.add(Brief, "limits", "limits/"+x[0], x[0]+" at most "+x[1])
		}
	}
	if len(t.Requires) > 0 {
		f.list = append(f.list, Fact{Name: "requires", Text: RequiresText(t.Requires), Weight: Brief})
	}
	for _, key := range slices.Sorted(maps.Keys(t.Requires)) {
		f.add(Usual, "requires", "requires/"+escape(key), "requires "+RequiresText(map[string]any{key: t.Requires[key]}))
	}
	f.add(Brief, "pool", "pool", prefixed("pool ", t.Pool))
	f.add(Brief, "environment", "environment", prefixed("environment ", t.Environment))
	f.add(f.unlessDefault("timeout_ms"), "timeout", "timeout_ms", "timeout "+Milliseconds(t.TimeoutMS))
	if t.Retries != nil {
		f.add(Brief, "retries", "retries/limit", retriesText(t.Retries))
	}
	f.flag("allow_failure", t.AllowFailure)
	f.flag("always", t.Always)
	lost := Brief
	if t.OnLost == pipeline.OnLostRetry {
		lost = Usual
	}
	f.add(lost, "on_lost", "on_lost", prefixed("on_lost ", string(t.OnLost)))
	return f.list
}

// container tells what more there is to a task's container.
func (f *facts) container(t *pipeline.Task) {
	f.add(Brief, "fallback", "fallback", prefixed("else on the ", t.Fallback))
	if c := t.Container; c != nil {
		f.add(Brief, "pull", "container/pull", prefixed("pull ", c.Pull))
		f.add(Brief, "user", "container/user", prefixed("user ", c.User))
		f.add(Brief, "powers", "container", prefixed("with power over the host: ", strings.Join(c.Powers(), ", ")))
	}
	for i, s := range t.Services {
		f.add(Line, "service", fmt.Sprintf("services/%d/image", i), s.Name+" ("+s.Image+")")
	}
}

// withTask says what a task waits for, holds, gets and gives.
func (b *builder) withTask(t *pipeline.Task, ptr string) []Fact {
	f := facts{builder: b, ptr: ptr}
	if t.Needs != nil && len(t.Needs) == 0 {
		f.add(Line, "after", "needs", "nothing: it starts with the run")
	}
	f.add(Line, "after", "needs", strings.Join(t.Needs, ", "))
	for _, key := range slices.Sorted(maps.Keys(t.Matrix)) {
		f.add(Joined, "matrix", "matrix/"+escape(key), key+"="+plain(t.Matrix[key]))
	}
	if c := t.Checkout; c != nil {
		f.add(Line, "checkout", "checkout", checkoutText(c))
	}
	if c := t.Concurrency; c != nil {
		f.add(Line, "group", "concurrency/group", concurrencyText(c))
	}
	f.env(t.Env, t, "/env/")
	for _, key := range slices.Sorted(maps.Keys(t.Outputs)) {
		text := key + " (" + t.Outputs[key] + ")"
		if readers := b.readers[output{baseOf(t), key}]; len(readers) > 0 {
			text += ", read by " + readersText(readers)
		}
		f.add(Line, "output", "outputs/"+escape(key), text)
	}
	if m := t.MayAdd; m != nil {
		f.add(Line, "adds", "may_add", fmt.Sprintf("may add up to %s of template %s here", Count(m.Max, "task"), m.Template))
	}
	return f.list
}

func (b *builder) step(t *pipeline.Task, i int, ptr string) Item {
	s := &t.Steps[i]
	item := Item{Kind: KindStep, Pointer: ptr, Name: s.Name}
	item.Verdict, item.Why = FateOfStep(t, i)
	f := facts{builder: b, ptr: ptr}
	f.add(f.unlessDefault("shell"), "shell", "shell", prefixed("by ", strings.Join(s.Shell, " ")))
	f.add(Brief, "dir", "dir", prefixed("in ", s.Dir))
	if s.TimeoutMS > 0 {
		f.add(Brief, "timeout", "timeout_ms", "timeout "+Milliseconds(s.TimeoutMS))
	}
	f.flag("allow_failure", s.AllowFailure)
	f.flag("always", s.Always)
	for _, code := range sortedCodes(s.ExitCodes) {
		weight := Brief
		switch s.ExitCodes[code] {
		case usualExit(code):
			continue
		case b.exits[code]:
			weight = Usual
		}
		f.add(weight, "exit_codes", "exit_codes/"+code, "exit code "+code+" means "+s.ExitCodes[code])
	}
	f.env(s.Env, t, fmt.Sprintf("/steps/%d/env/", i))
	item.Facts = f.list
	if script := strings.TrimSpace(s.Sh); script != s.Name {
		item.Script = script
	}
	return item
}

// facts gathers the facts of one item.
type facts struct {
	*builder
	ptr  string
	list []Fact
}

// add adds a fact whose value the plan has below the item, unless there is nothing to say.
func (f *facts) add(weight Weight, name, below, text string) {
	if text != "" {
		f.list = append(f.list, Fact{name, text, f.ptr + "/" + below, weight})
	}
}

func (f *facts) flag(name string, set bool) {
	if set {
		f.add(Brief, name, name, name)
	}
}

// unlessDefault is the weight of a value that only needs mention if somebody has said it.
func (f *facts) unlessDefault(below string) Weight {
	if f.plan.Origins[f.ptr+"/"+below].Kind == "default" {
		return Usual
	}
	return Brief
}

// env tells variables; those decided later stand in the task's list of what is, with or without a place among the others.
func (f *facts) env(env map[string]string, t *pipeline.Task, field string) {
	later := map[string]string{}
	for _, l := range t.Later {
		if name, ok := strings.CutPrefix(l.Field, field); ok {
			later[unescape(name)] = l.Expr
		}
	}
	names := slices.Sorted(maps.Keys(env))
	for name := range later {
		if _, both := env[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		at := "env/" + escape(name)
		switch value := env[name]; {
		case later[name] != "":
			f.add(Line, "env", at, name+" is decided later: "+oneLine(later[name]))
		default:
			weight := Joined
			if common, ok := f.common[name]; ok && common == value && field == "/env/" {
				weight = Usual
			}
			f.add(weight, "env", at, name+"="+quoted(value))
		}
	}
}

// checkoutText says how much of a repository a task begins with.
func checkoutText(c *pipeline.Checkout) string {
	if c.Off {
		return "nothing: the workspace begins empty"
	}
	parts := []string{"the commit alone"}
	switch {
	case c.Depth < 0:
		parts[0] = "the commit with all history"
	case c.Depth > 1:
		parts[0] = "the last " + Count(c.Depth, "commit")
	}
	if c.Submodules {
		parts = append(parts, "submodules")
	}
	if c.LFS {
		parts = append(parts, "large files")
	}
	return strings.Join(parts, ", ")
}
