package pipeline

import "fmt"

func (l *lowering) task(f *fileDecl, t *taskDecl, stage *Condition, ptr string) Task {
	o := &l.origins
	out := Task{
		Name: t.name.v, Base: t.base, Matrix: t.matrix, TimeoutMS: t.timeoutMS.or(defaultTaskTimeout.Milliseconds()), AllowFailure: t.allowFailure.v,
		Always: t.always.v, OnLost: t.onLost.or(OnLostRetry), Steps: []Step{},
	}
	if t.base == t.name.v {
		out.Base = ""
	}
	switch {
	case out.Base != "":
		o.sayAs(ptr+"/name", t.name.at, noteMatrix)
	case t.name.at != nil:
		o.say(ptr+"/name", t.name.at)
	}
	o.sayIf(ptr+"/base", t.name.at, out.Base != "")
	sayAll(o, ptr+"/matrix", t.matrix, t.name.at)
	o.sayOr(ptr+"/timeout_ms", t.timeoutMS.at, noteTaskTimeout)
	o.sayOr(ptr+"/on_lost", t.onLost.at, noteOnLost)
	o.sayIf(ptr+"/allow_failure", t.allowFailure.at, t.allowFailure.v)
	o.sayIf(ptr+"/always", t.always.at, t.always.v)
	out.Checkout = l.checkout(t.checkout, ptr+"/checkout")
	l.lowerContainer(t, &out, ptr)
	l.requires(t, &out, ptr)
	l.isolate(t, &out, ptr)
	out.Pool = t.pool.v
	o.sayIf(ptr+"/pool", t.pool.at, out.Pool != "")
	out.Retries = l.retries(t.retries, ptr+"/retries")
	for _, x := range t.outputs {
		if out.Outputs == nil {
			out.Outputs = map[string]string{}
		}
		out.Outputs[x.name] = x.typ.v
		o.sayOr(ptr+"/outputs/"+escape(x.name), x.typ.at, noteOutput)
	}
	l.mayAdd(t, &out, ptr)
	if out.AddedBy = l.addedBy[t.name.v]; out.AddedBy != "" {
		o.fallback(ptr+"/added_by", originConvention, noteFragment)
	}
	layers := l.deploy(t, &out, ptr)
	l.decide(t, stage, &out, ptr)
	out.Env = l.env(&out, "/env", ptr, append([][]envDecl{f.env}, append(layers, t.env)...)...)
	for i := range t.steps {
		out.Steps = append(out.Steps, l.step(f, t, &t.steps[i], &out, ptr))
	}
	if out.Omitted != "" {
		out.Later = nil
	}
	return out
}

// mayAdd puts in what the task may add, and the output that says what it adds.
func (l *lowering) mayAdd(t *taskDecl, out *Task, ptr string) {
	m := t.mayAdd
	if m == nil || m.template.at == nil || m.max.at == nil {
		return
	}
	inputs, ok := l.fragments[t.name.v]
	if !ok {
		l.add(badMayAdd, m.template.at.at, "a stage that is one task has no place for more").
			Suggestion = "write the task in a list:  parallel: [{ task: " + t.name.v + ", … }]"
		return
	}
	out.MayAdd = &MayAdd{Template: m.template.v, Max: m.max.v, Inputs: inputs}
	if out.Outputs == nil {
		out.Outputs = map[string]string{}
	}
	out.Outputs[fragmentOutput] = "json"
	l.origins.fallback(ptr+"/outputs/"+fragmentOutput, originConvention, noteFragment)
	l.origins.say(ptr+"/may_add/template", m.template.at)
	l.origins.say(ptr+"/may_add/max", m.max.at)
}

// decide says whether the task runs: by the condition of its stage, by its environment, which has been looked at, and by its own.
func (l *lowering) decide(t *taskDecl, stage *Condition, out *Task, ptr string) {
	out.When = l.condition(ptr, t.when)
	omitted := []string{stage.omits(), out.Omitted, out.When.omits()}
	out.Omitted = ""
	for _, why := range omitted {
		if out.Omitted == "" {
			out.Omitted = why
		}
	}
	residual := ""
	for _, c := range []*Condition{stage, out.When} {
		switch {
		case c == nil || c.Verdict != VerdictLater:
		case residual == "":
			residual = c.Residual
		default:
			residual = fmt.Sprintf("(%s) && (%s)", residual, c.Residual)
		}
	}
	if residual != "" && out.Omitted == "" {
		out.Later = append(out.Later, Later{Field: "/when", Expr: residual})
	}
}

// requires puts in what an agent must offer.
func (l *lowering) requires(t *taskDecl, out *Task, ptr string) {
	for _, c := range t.requires {
		if out.Requires == nil {
			out.Requires = map[string]any{}
		}
		out.Requires[c.name] = c.value.v
		l.origins.sayCapability(ptr+"/requires/"+escape(c.name), c.value.v, c.value.at)
	}
	l.requireContainer(out, ptr)
}

// deploy puts in the environment and the group of a task, and gives the variables of the environment.
func (l *lowering) deploy(t *taskDecl, out *Task, ptr string) [][]envDecl {
	o := &l.origins
	if c := t.concurrency; c != nil {
		out.Concurrency = &Concurrency{Group: c.group.v, Limit: c.limit.or(1), OnConflict: c.onConflict.or(ConflictWait)}
		o.say(ptr+"/concurrency/group", c.group.at)
		o.sayOr(ptr+"/concurrency/limit", c.limit.at, noteOneAtOnce)
		o.sayOr(ptr+"/concurrency/on_conflict", c.onConflict.at, noteWait)
	}
	if t.environment.at == nil {
		return nil
	}
	e, known := l.environments[t.environment.v]
	if !known {
		x := l.add(unknownEnvironment, t.environment.at.at, "the environment %q is not declared", shorten(t.environment.v, 60))
		x.Suggestion = "declare it:  environments: { " + t.environment.v + ": {} }"
		if near := nearest(t.environment.v, sortedKeys(l.environments)); near != "" {
			x.Suggestion = fmt.Sprintf("did you mean %q?", near)
		}
		return nil
	}
	if t.concurrency != nil {
		l.add(conflictingKeys, t.concurrency.group.at.at, "a task that deploys is in the group of its environment, and can be in no other").
			Suggestion = "set concurrency in environments: " + e.name
	}
	t.reads = append(t.reads, e.reads...)
	out.Environment, out.Omitted = e.name, e.omits(l.inputs.Event)
	o.say(ptr+"/environment", t.environment.at)
	out.Concurrency = &Concurrency{Group: "environment " + e.name, Limit: e.concurrency.or(1), OnConflict: ConflictWait}
	o.fallback(ptr+"/concurrency/group", originConvention, noteGroup)
	o.sayOr(ptr+"/concurrency/limit", e.concurrency.at, noteOneAtOnce)
	o.fallback(ptr+"/concurrency/on_conflict", originConvention, noteWait)
	if t.onLost.at == nil {
		out.OnLost = OnLostFail
		o.fallback(ptr+"/on_lost", originConvention, noteDeploys)
	}
	return [][]envDecl{e.env}
}

// env merges variables; the later layer wins. What only the run knows becomes a thing to decide.
func (l *lowering) env(t *Task, field, ptr string, layers ...[]envDecl) map[string]string {
	var out map[string]string
	late := map[string]envDecl{}
	for _, layer := range layers {
		for _, e := range layer {
			delete(late, e.name)
			delete(out, e.name)
			delete(l.origins.at, ptr+field+"/"+escape(e.name))
			if e.value.at.late != "" {
				late[e.name] = e
				continue
			}
			if out == nil {
				out = map[string]string{}
			}
			out[e.name] = e.value.v
			l.origins.say(ptr+field+"/"+escape(e.name), e.value.at)
		}
	}
	for _, name := range sortedKeys(late) {
		t.Later = append(t.Later, Later{Field: field + "/" + escape(name), Expr: late[name].value.at.late})
	}
	if len(out) == 0 {
		return nil
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

// step puts a step into its task.
func (l *lowering) step(f *fileDecl, t *taskDecl, s *stepDecl, task *Task, taskPtr string) Step {
	o, field := &l.origins, pointer("/steps", len(task.Steps))
	ptr := taskPtr + field
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
	out.When = l.condition(ptr, s.when)
	if out.Omitted = out.When.omits(); out.When != nil && out.When.Verdict == VerdictLater {
		task.Later = append(task.Later, Later{Field: field + "/when", Expr: out.When.Residual})
	}
	if s.shell.at == nil {
		s.shell = t.shell
	}
	out.Shell = s.shell.words
	s.shell.say(o, ptr+"/shell")
	open := task
	if out.Omitted != "" {
		open = &Task{} // nobody needs to decide the variables of what does not run
	}
	out.Env = l.env(open, field+"/env", taskPtr, s.env)
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
