package pipeline

import "slices"

// The declarations: what an Ottofile says, each value with the place that says it. decode.go fills them, lower.go
// turns them into a plan.

// val is a value with its place; at is nil if the file does not say it.
type val[T any] struct {
	v  T
	at *node
}

// or gives the value, or another one if the file does not say it.
func (v val[T]) or(other T) T {
	if v.at == nil {
		return other
	}
	return v.v
}

type fileDecl struct {
	name         val[string]
	on           *triggersDecl
	params       []paramDecl
	env          []envDecl
	exits        []exitDecl
	defaults     taskDecl
	environments []environmentDecl
	steps        []stepDecl
	stages       []stageDecl
	onFailure    []stageDecl
	always       []stageDecl

	alwaysAt    *node // the keys
	onFailureAt *node
}

type stageDecl struct {
	stage  val[string]
	name   val[string]
	mode   val[Mode] // from `mode:`
	form   val[Mode] // from `parallel:`, `fanout:` or `linear:`, at the key
	always val[bool]
	when   val[*Condition]
	needs  *needsDecl
	tasks  []taskDecl
	listed *node    // the list of tasks
	task   taskDecl // of a stage that is one task
	isLegs bool     // tasks are the legs of that one
}

type taskDecl struct {
	name         val[string]
	base         string // the name before the matrix
	matrix       map[string]any
	when         val[*Condition]
	needs        *needsDecl
	checkout     *checkoutDecl
	image        containerDecl
	services     []serviceDecl
	servicesAt   *node
	fallback     val[string]
	isolation    val[int]
	limits       []limitDecl
	shell        shellDecl
	environment  val[string]
	concurrency  *concurrencyDecl
	outputs      []outputDecl
	mayAdd       *mayAddDecl
	reads        []outputRead // outputs of other tasks, in its expressions
	env          []envDecl
	requires     []capabilityDecl
	pool         val[string]
	timeoutMS    val[int64]
	allowFailure val[bool]
	always       val[bool]
	exits        []exitDecl
	retries      *retriesDecl
	onLost       val[OnLost]
	steps        []stepDecl
}

type stepDecl struct {
	name         val[string]
	sh           val[string]
	when         val[*Condition]
	shell        shellDecl
	env          []envDecl
	dir          val[string]
	timeoutMS    val[int64]
	allowFailure val[bool]
	always       val[bool]
	exits        []exitDecl

	remapsTwo bool // some level says what exit code 2 means; set by lowering
}

type envDecl struct {
	name  string
	value val[string]
}

type capabilityDecl struct {
	name  string
	value val[any]
}

type exitDecl struct {
	code    string
	outcome val[string]
}

type retriesDecl struct {
	limit   val[int]
	on      []val[string]
	exit    []val[int]
	delayMS val[int64]
	onSaid  bool // `on:` was written, and has something in it
}

// needsDecl is what a task waits for instead of the stages before its own.
type needsDecl struct {
	names []val[string]
	at    *node
}

// outputRead is a place that reads an output: outputs, the task, the name of the output, and what is inside of it.
type outputRead struct {
	path     []string
	at       span
	optional bool // it is taken only if it is there
}

// inherit takes from the file's defaults what the task does not say.
func (t *taskDecl) inherit(f *taskDecl) {
	t.timeoutMS = t.timeoutMS.orSaid(f.timeoutMS)
	if t.image.name.at == nil {
		t.image = f.image
	}
	if t.image.name.at != nil && len(t.services) == 0 && !t.image.powerful() {
		t.fallback = t.fallback.orSaid(f.fallback)
	}
	t.isolation = t.isolation.orSaid(f.isolation)
	t.pool = t.pool.orSaid(f.pool)
	for _, x := range f.limits {
		if !slices.ContainsFunc(t.limits, func(own limitDecl) bool { return own.name == x.name }) {
			t.limits = append(t.limits, x)
		}
	}
	if t.environment.at == nil { // to deploy twice takes more than a word about all tasks
		t.onLost = t.onLost.orSaid(f.onLost)
	}
	if t.shell.at == nil {
		t.shell = f.shell
	}
	if t.checkout == nil {
		t.checkout = f.checkout
	}
	if t.retries == nil {
		t.retries = f.retries
	}
	for _, c := range f.requires {
		if !slices.ContainsFunc(t.requires, func(own capabilityDecl) bool { return own.name == c.name }) {
			t.requires = append(t.requires, c)
		}
	}
}

// orSaid gives the value, or the other one if the file does not say it.
func (v val[T]) orSaid(other val[T]) val[T] {
	if v.at == nil {
		return other
	}
	return v
}
