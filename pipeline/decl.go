package pipeline

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
	name   val[string]
	env    []envDecl
	exits  []exitDecl
	steps  []stepDecl
	stages []stageDecl
	always []stageDecl

	alwaysAt *node // the key
}

type stageDecl struct {
	stage  val[string]
	name   val[string]
	mode   val[Mode] // from `mode:`
	form   val[Mode] // from `parallel:`, `fanout:` or `linear:`, at the key
	always val[bool]
	tasks  []taskDecl
	listed *node    // the list of tasks
	task   taskDecl // of a stage that is one task
}

type taskDecl struct {
	name         val[string]
	env          []envDecl
	requires     []capabilityDecl
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
