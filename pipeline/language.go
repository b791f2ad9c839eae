package pipeline

import "slices"

// language is the Ottofile's vocabulary: every key of every object, with its words, its type and its reader. Decoding,
// "did you mean", docs and the JSON Schema all come from here; a new key is one line here and its setter.
type language struct {
	file        object[fileDecl]
	stage       object[stageDecl]
	task        object[taskDecl]
	defaults    object[taskDecl]
	step        object[stepDecl]
	retries     object[retriesDecl]
	onExit      object[retriesDecl]
	param       object[paramDecl]
	triggers    object[triggersDecl]
	schedule    object[scheduleDecl]
	environment object[environmentDecl]
	protection  object[protectionDecl]
	concurrency object[concurrencyDecl]
	mayAdd      object[mayAddDecl]
	checkout    object[checkoutDecl]
	image       object[containerDecl]
	mount       object[mountDecl]
	service     object[serviceDecl]
	health      object[healthDecl]
	limits      object[[]limitDecl]
	template    object[templateDecl]
	input       object[paramDecl]
	later       map[string]string // keys of later versions: what they will do
	moved       map[string]string // "object/key" that people try: what to write instead
}

func newLanguage() language {
	l := language{
		step: stepObject(), retries: retriesObject(), onExit: onExitObject(), param: paramObject(), triggers: triggersObject(),
		schedule: scheduleObject(), environment: environmentObject(), protection: protectionObject(), concurrency: concurrencyObject(), mayAdd: mayAddObject(), checkout: checkoutObject(), limits: limitsObject(),
		image: imageObject(), mount: mountObject(), service: serviceObject(), health: healthObject(),
		template: templateObject(), input: inputObject(), later: laterKeys(), moved: movedKeys(),
	}
	l.task = taskObject()
	l.defaults = defaultsObject(l.task)
	l.stage = stageObject(l.task)
	l.file = fileObject()
	return l
}

func fileObject() object[fileDecl] {
	return object[fileDecl]{what: "an Ottofile", doc: "What Otto runs for this repository.", keys: []key[fileDecl]{
		{"name", "What people call this pipeline.", nameType,
			func(d *decoder, f *fileDecl, _, v *node) { f.name = d.name(v, "the name") }},
		{"on", "Which events start a run. Default: every push, pull request and tag.", triggersType,
			func(d *decoder, f *fileDecl, k, v *node) { f.on = d.triggers(k, v) }},
		{"params", "Values that whoever asks for a run may give.", paramsType,
			func(d *decoder, f *fileDecl, _, _ *node) { f.params = d.declared }},
		{"env", "Variables of every step of the file.", envType,
			func(d *decoder, f *fileDecl, _, v *node) { f.env = d.env(v) }},
		{"exit_codes", "What exit codes mean, for every step of the file.", exitCodesType,
			func(d *decoder, f *fileDecl, _, v *node) { f.exits = d.exitCodes(v) }},
		{"defaults", "What tasks have that do not say it themselves.", defaultsType,
			func(d *decoder, f *fileDecl, _, v *node) { f.defaults = d.defaults(v) }},
		{"environments", "Places that tasks deploy to, by name.", environmentsType,
			func(d *decoder, f *fileDecl, _, v *node) { f.environments = d.environments(v, d.scope) }},
		{"steps", "The steps of a pipeline that is one task. Instead of stages.", stepsType,
			func(d *decoder, f *fileDecl, _, v *node) { f.steps = d.stepList(v) }},
		{"stages", "The stages, in order: each starts when the one before it is final.", stagesType,
			func(d *decoder, f *fileDecl, k, v *node) { f.stages = d.stageList(k, v) }},
		{"on_failure", "Stages that run after a failure, before those that always run. They cannot improve the result.", lastStagesType,
			func(d *decoder, f *fileDecl, k, v *node) { f.onFailure, f.onFailureAt = d.stageList(k, v), k }},
		{"templates", "Parts of this file that are used more than once, each below its name.", templatesType, expandedKey[fileDecl]},
		{"always", "Stages that run at the end, whatever happened before. They cannot improve the result.", lastStagesType,
			func(d *decoder, f *fileDecl, k, v *node) { f.always, f.alwaysAt = d.stageList(k, v), k }},
	}}
}

func stageObject(task object[taskDecl]) object[stageDecl] {
	own := []key[stageDecl]{
		{"stage", "The name of the stage. With steps, the stage is one task of this name.", nameType,
			func(d *decoder, s *stageDecl, _, v *node) { s.stage = d.name(v, "a stage's name") }},
		{"name", "The name of a stage that is written as a list of tasks.", nameType,
			func(d *decoder, s *stageDecl, _, v *node) { s.name = d.name(v, "a stage's name") }},
		{"parallel", "Tasks that run together; none influences another.", tasksType,
			func(d *decoder, s *stageDecl, k, v *node) { d.form(s, Parallel, k, v) }},
		{"fanout", "Tasks that run together; the first that fails aborts the others.", tasksType,
			func(d *decoder, s *stageDecl, k, v *node) { d.form(s, Fanout, k, v) }},
		{"linear", "Tasks that run one after the other.", tasksType,
			func(d *decoder, s *stageDecl, k, v *node) { d.form(s, Linear, k, v) }},
		{"mode", "How the tasks of `tasks` run: one after the other (linear, the default), together (parallel), " +
			"or together until one fails (fanout).", orExpr(modeType),
			func(d *decoder, s *stageDecl, _, v *node) { s.mode = d.mode(v) }},
		{"tasks", "The tasks of the stage; `mode` says how they run.", tasksType,
			func(d *decoder, s *stageDecl, k, v *node) { d.form(s, "", k, v) }},
		{"use", useDoc, useType, expandedKey[stageDecl]},
		{"with", withDoc, withType, expandedKey[stageDecl]},
		{"always", "Run the stage whatever happened before. It cannot improve the result.", orExpr(boolType),
			func(d *decoder, s *stageDecl, _, v *node) { s.always = d.boolean(v, `"always"`) }},
		{"when", "A condition in CEL: the stage runs only if it is true.", whenType,
			func(_ *decoder, s *stageDecl, _, v *node) { s.when = val[*Condition]{v.cond, v} }},
		{"needs", "The stages and tasks that its tasks wait for, instead of all stages before.", needsType,
			func(d *decoder, s *stageDecl, k, v *node) { s.needs = d.needs(k, v) }},
	}
	shared := slices.DeleteFunc(slices.Clone(task.keys), func(k key[taskDecl]) bool {
		return slices.ContainsFunc(own, func(o key[stageDecl]) bool { return o.name == k.name }) || k.name == "task"
	})
	return object[stageDecl]{what: "a stage", doc: "One task, or a group of tasks.",
		keys: append(own, lift(shared, func(s *stageDecl) *taskDecl { return &s.task })...)}
}

func taskObject() object[taskDecl] {
	return object[taskDecl]{what: "a task", doc: "What one agent does in one clean workspace.", keys: []key[taskDecl]{
		{"task", "The name of the task, unique in the file.", nameType,
			func(d *decoder, t *taskDecl, _, v *node) { t.name = d.name(v, "a task's name") }},
		{"when", "A condition in CEL: the task runs only if it is true.", whenType,
			func(_ *decoder, t *taskDecl, _, v *node) { t.when = val[*Condition]{v.cond, v} }},
		{"matrix", "A task for each combination of values: axes with lists or mappings, include and exclude; or a list of legs.", matrixType,
			func(*decoder, *taskDecl, *node, *node) {}}, // read before, see legs
		{"needs", "The stages and tasks it waits for, instead of all stages before its own. None: it starts with the run.", needsType,
			func(d *decoder, t *taskDecl, k, v *node) { t.needs = d.needs(k, v) }},
		{"checkout", "How much of the run's repository the workspace begins with; false: nothing. Default: its commit, without history.", checkoutType,
			func(d *decoder, t *taskDecl, _, v *node) { t.checkout = d.checkout(v) }},
		{"image", "The container image that its steps run in: its name, or a mapping with more. Default: the host of the agent.", imageType,
			func(d *decoder, t *taskDecl, _, v *node) { t.image = d.container(v) }},
		{"services", "Containers beside its own, by the names that its steps reach them by: images, or mappings with more.", servicesType,
			func(d *decoder, t *taskDecl, k, v *node) { t.services, t.servicesAt = d.services(v), k }},
		{"fallback", "host: an agent that runs no containers may run it on its host. Default: it waits for one that does.", fallbackType,
			func(d *decoder, t *taskDecl, _, v *node) {
				t.fallback = d.oneOf(v, "fallback", badContainer, []string{fallbackHost})
			}},
		{"isolation", "How far its steps are kept from the rest of the agent's machine at least: >=S1, >=S2, >=S3. Default: as the agent does.", isolationType,
			func(d *decoder, t *taskDecl, _, v *node) { t.isolation = d.isolation(v) }},
		{"limits", "What it may use of its agent's machine.", limitsType,
			func(d *decoder, t *taskDecl, _, v *node) { t.limits = decodeObject(d, d.lang.limits, v) }},
		{"shell", "The command that gets the file of a script: sh, bash, or words such as [python3, -u]. Default: /bin/sh -e.", shellType,
			func(d *decoder, t *taskDecl, _, v *node) { t.shell = d.shellCommand(v) }},
		{"environment", "The environment it deploys to, of those below environments.", nameType,
			func(d *decoder, t *taskDecl, _, v *node) { t.environment = d.name(v, "an environment") }},
		{"concurrency", "A group of tasks of which only some run at once, over all runs of the project.", concurrencyType,
			func(d *decoder, t *taskDecl, _, v *node) { t.concurrency = d.concurrency(v) }},
		{"outputs", "Values that its steps write to the file $OTTO_OUTPUT: a list of names, or names with types.", outputsType,
			func(d *decoder, t *taskDecl, _, v *node) { t.outputs = d.outputs(v) }},
		{"may_add", "Tasks that its steps may add beside it, made from a template.", mayAddType,
			func(d *decoder, t *taskDecl, _, v *node) {
				if v.kind == mappingKind || d.want(v, mappingKind, "may_add") {
					m := decodeObject(d, d.lang.mayAdd, v)
					t.mayAdd = &m
				}
			}},
		{"env", "Variables of every step of the task.", envType,
			func(d *decoder, t *taskDecl, _, v *node) { t.env = d.env(v) }},
		{"requires", "Capabilities an agent must offer: a boolean, the least number or size (2GiB), a text, a list of which it has all, or a version range (>=1.25 <2).", requiresType,
			func(d *decoder, t *taskDecl, _, v *node) { t.requires = d.requires(v) }},
		{"pool", "The pool of agents that it gets its agent from. Default: default.", poolType,
			func(d *decoder, t *taskDecl, _, v *node) { t.pool = d.pool(v) }},
		{"timeout", "How long all steps together may take (90s, 10m, 1h30m, 2d). Default 1h, at most 7d.", orExpr(durationType),
			func(d *decoder, t *taskDecl, _, v *node) { t.timeoutMS = d.timeout(v) }},
		{"allow_failure", "A failure counts as succeeded, with a warning.", orExpr(boolType),
			func(d *decoder, t *taskDecl, _, v *node) { t.allowFailure = d.boolean(v, `"allow_failure"`) }},
		{"always", "Run the task whatever happened before it in its stage.", orExpr(boolType),
			func(d *decoder, t *taskDecl, _, v *node) { t.always = d.boolean(v, `"always"`) }},
		{"exit_codes", "What exit codes mean, for every step of the task.", exitCodesType,
			func(d *decoder, t *taskDecl, _, v *node) { t.exits = d.exitCodes(v) }},
		{"retries", "How often, and after what, the task is tried again.", retriesType,
			func(d *decoder, t *taskDecl, _, v *node) { t.retries = d.retries(v) }},
		{"on_lost", "What follows when the agent is lost: another one takes over (retry, the default), or the task fails (fail).", orExpr(onLostType),
			func(d *decoder, t *taskDecl, _, v *node) { t.onLost = d.onLost(v) }},
		{"use", useDoc, useType, expandedKey[taskDecl]},
		{"with", withDoc, withType, expandedKey[taskDecl]},
		{"steps", "The steps, in order; the first that fails ends the task.", stepsType,
			func(d *decoder, t *taskDecl, _, v *node) { t.steps = d.stepList(v) }},
	}}
}

// defaultsObject has the keys of a task that may be said once for all tasks.
func defaultsObject(task object[taskDecl]) object[taskDecl] {
	shared := []string{"image", "fallback", "checkout", "isolation", "limits", "shell", "requires", "pool", "timeout", "retries", "on_lost"}
	return object[taskDecl]{what: "defaults", doc: "What tasks have that do not say it themselves.",
		keys: slices.DeleteFunc(slices.Clone(task.keys), func(k key[taskDecl]) bool { return !slices.Contains(shared, k.name) })}
}

func stepObject() object[stepDecl] {
	return object[stepDecl]{what: "a step", doc: "One shell script.", keys: []key[stepDecl]{
		{"name", "What people call the step. Default: the first line of its script.", nameType,
			func(d *decoder, s *stepDecl, _, v *node) { s.name = d.name(v, "a step's name") }},
		{"sh", "The shell script.", scriptType,
			func(d *decoder, s *stepDecl, _, v *node) { s.sh = d.script(v) }},
		{"when", "A condition in CEL: the step runs only if it is true.", whenType,
			func(_ *decoder, s *stepDecl, _, v *node) { s.when = val[*Condition]{v.cond, v} }},
		{"shell", "The command that gets the file of the script. Default: that of the task.", shellType,
			func(d *decoder, s *stepDecl, _, v *node) { s.shell = d.shellCommand(v) }},
		{"env", "Variables of this step.", envType,
			func(d *decoder, s *stepDecl, _, v *node) { s.env = d.env(v) }},
		{"dir", "The directory the script starts in, below the workspace.", orExpr(dirType),
			func(d *decoder, s *stepDecl, _, v *node) { s.dir = d.dir(v) }},
		{"timeout", "How long this step may take (90s, 10m, 1h30m, 2d). Default: as long as its task.", orExpr(durationType),
			func(d *decoder, s *stepDecl, _, v *node) { s.timeoutMS = d.timeout(v) }},
		{"allow_failure", "A failure counts as succeeded, with a warning.", orExpr(boolType),
			func(d *decoder, s *stepDecl, _, v *node) { s.allowFailure = d.boolean(v, `"allow_failure"`) }},
		{"always", "Run the step even after one before it failed.", orExpr(boolType),
			func(d *decoder, s *stepDecl, _, v *node) { s.always = d.boolean(v, `"always"`) }},
		{"exit_codes", "What exit codes mean, for this step.", exitCodesType,
			func(d *decoder, s *stepDecl, _, v *node) { s.exits = d.exitCodes(v) }},
		{"use", useDoc, useType, expandedKey[stepDecl]},
		{"with", withDoc, withType, expandedKey[stepDecl]},
	}}
}

func retriesObject() object[retriesDecl] {
	return object[retriesDecl]{what: "retries", doc: "When a failed attempt is followed by another one.", keys: []key[retriesDecl]{
		{"limit", "How many more attempts after the first.", orExpr(limitType),
			func(d *decoder, r *retriesDecl, _, v *node) { r.limit = d.limit(v) }},
		{"on", "What is tried again: failed, timeout, lost, or exit with a list of exit codes. Default: failed and timeout.", retryOnType,
			func(d *decoder, r *retriesDecl, _, v *node) { d.retryOn(r, v) }},
		{"delay", "How long to wait before the next attempt (30s, 5m).", orExpr(durationType),
			func(d *decoder, r *retriesDecl, _, v *node) { r.delayMS = d.timeout(v) }},
	}}
}

func onExitObject() object[retriesDecl] {
	return object[retriesDecl]{what: "an entry of retries.on", doc: "Exit codes that are tried again.", keys: []key[retriesDecl]{
		{"exit", "The exit codes.", exitListType,
			func(d *decoder, r *retriesDecl, _, v *node) { d.retryExit(r, v) }},
	}}
}

// laterKeys are refused with their own words: they are no typos, and silence would run something else than was written.
func laterKeys() map[string]string {
	return map[string]string{
		"cache":     "caches",
		"artifacts": "files that outlive their task",
		"uses":      "artifacts of other tasks",
		"await":     "waiting for something outside",
		"approve":   "approvals",
		"by":        "approvals",
		"delay":     "waiting for a time",
		"secrets":   "secrets",
		"notify":    "hooks",
		"hooks":     "hooks",
	}
}

// movedKeys are the words of other systems, and of the neighbouring object.
func movedKeys() map[string]string {
	return map[string]string{
		"a stage/template":      `write "use: NAME"`,
		"a task/template":       `write "use: NAME"`,
		"a step/template":       `write "use: NAME"`,
		"an Ottofile/include":   `write "use: ./FILE" where the stages, tasks or steps of the file belong`,
		"an Ottofile/use":       `it belongs in an entry of stages or steps: "stages: [{use: NAME}]"`,
		"a stage/task":          `a stage starts with "stage: NAME"; tasks are listed below "parallel:", "fanout:" or "tasks:"`,
		"a task/stage":          `a task starts with "task: NAME"`,
		"an Ottofile/stage":     `stages are listed below "stages:", each starting with "- stage: NAME"`,
		"an Ottofile/sh":        `write "steps: [{sh: …}]"`,
		"an Ottofile/jobs":      `write "stages:" with tasks`,
		"an Ottofile/timeout":   "it belongs in a task or a step",
		"a task/sh":             `write "steps: [{sh: …}]"`,
		"a stage/sh":            `write "steps: [{sh: …}]"`,
		"a step/run":            `write "sh: …"`,
		"a step/script":         `write "sh: …"`,
		"a step/command":        `write "sh: …"`,
		"a task/script":         `write "steps: [{sh: …}]"`,
		"a stage/script":        `write "steps: [{sh: …}]"`,
		"a step/working_dir":    `write "dir: …"`,
		"a stage/max_failures":  `write "fanout:"`,
		"a stage/fail_fast":     `write "fanout:"`,
		"a task/name":           `write "task: NAME"`,
		"a task/if":             `write "when: …"`,
		"a stage/if":            `write "when: …"`,
		"a step/if":             `write "when: …"`,
		"a task/depends_on":     `write "needs: […]"`,
		"a stage/depends_on":    `write "needs: […]"`,
		"a task/strategy":       `write "matrix: …"`,
		"a task/container":      `write "image: …"`,
		"an Ottofile/inputs":    `write "params: …"`,
		"a step/task":           `a step has a "name"`,
		"a step/retries":        "it belongs in a task or a stage: the whole task is tried again, in a clean workspace",
		"retries/exit":          `write "on: [failed, exit: [75]]"`,
		"an Ottofile/variables": `write "env:"`,
	}
}

// owners lists the objects that have a key.
func (l language) owners(name string) []string {
	var out []string
	for _, o := range []struct {
		what string
		keys []string
	}{
		{l.file.what, l.file.names()}, {l.stage.what, l.stage.names()}, {l.task.what, l.task.names()},
		{l.step.what, l.step.names()}, {l.retries.what, l.retries.names()}, {l.param.what, l.param.names()}, {l.environment.what, l.environment.names()},
		{l.concurrency.what, l.concurrency.names()}, {l.template.what, l.template.names()}, {l.input.what, l.input.names()},
	} {
		if slices.Contains(o.keys, name) {
			out = append(out, o.what)
		}
	}
	return out
}
