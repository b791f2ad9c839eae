// Package pipeline turns an Ottofile into a plan. It is pure: no I/O, no clock, no randomness; equal input gives
// byte-equal output.
package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// PlanVersion is the version of the plan's JSON form that this code writes. Version 1 had no inputs, conditions, needs,
// concurrency, environments or images; all of them are optional, so its plans still run.
const PlanVersion = 2

// Plan is what a run executes: immutable, fully expanded, every value with its origin.
type Plan struct {
	Version int     `json:"version"`
	UUID    string  `json:"uuid,omitempty"` // kept from a posted model, see Model
	Name    string  `json:"name,omitempty"`
	Inputs  *Inputs `json:"inputs,omitempty"` // what was known when it was made; nil for a posted model
	Trigger Trigger `json:"trigger,omitzero"` // why it starts, or not
	Stages  []Stage `json:"stages"`
	// Origins says for each value, by its JSON pointer in this document, where it comes from.
	Origins map[string]Origin `json:"origins,omitempty"`
}

// Mode is how a stage runs its tasks.
type Mode string

// The modes of a stage.
const (
	Linear   Mode = "linear"   // one after the other; a halt skips the rest
	Parallel Mode = "parallel" // all together, none influences another
	Fanout   Mode = "fanout"   // all together; the first failure aborts the others
)

// Stage is an ordered group of tasks.
type Stage struct {
	UUID      string     `json:"uuid,omitempty"`
	Name      string     `json:"name"`
	Mode      Mode       `json:"mode"`
	Always    bool       `json:"always,omitempty"`     // runs whatever happened before; cannot improve the result
	OnFailure bool       `json:"on_failure,omitempty"` // runs only if the run has failed before it; cannot improve the result
	When      *Condition `json:"when,omitempty"`
	Tasks     []Task     `json:"tasks"`
}

// Task is the unit given to one agent: one workspace, a list of steps.
type Task struct {
	UUID         string            `json:"uuid,omitempty"`
	Name         string            `json:"name"`
	Env          map[string]string `json:"env,omitempty"`
	Requires     map[string]any    `json:"requires,omitempty"` // capabilities an agent must offer, see requires.go
	Pool         string            `json:"pool,omitempty"`     // of agents; default if empty
	TimeoutMS    int64             `json:"timeout_ms"`         // over all steps; always > 0
	AllowFailure bool              `json:"allow_failure,omitempty"`
	Always       bool              `json:"always,omitempty"`
	Retries      *Retries          `json:"retries,omitempty"`
	OnLost       OnLost            `json:"on_lost"`

	Base        string            `json:"base,omitempty"`   // the name before the matrix: unit, for the leg "unit (1.26)"
	Matrix      map[string]any    `json:"matrix,omitempty"` // the values of this leg
	Image       string            `json:"image,omitempty"`  // the container its steps run in; the agent's host if empty
	Checkout    *Checkout         `json:"checkout,omitempty"`
	Container   *Container        `json:"container,omitempty"`
	Services    []Service         `json:"services,omitempty"`
	Fallback    string            `json:"fallback,omitempty"`  // host: where it may run on an agent without containers
	Isolation   int               `json:"isolation,omitempty"` // the least level, S0 to S4, that its steps run with
	Limits      *TaskLimits       `json:"limits,omitempty"`
	Environment string            `json:"environment,omitempty"`
	Needs       []string          `json:"needs,omitzero"` // names of the tasks it waits for; nil: all stages before its own; empty: nothing
	When        *Condition        `json:"when,omitempty"`
	Omitted     string            `json:"omitted,omitempty"` // why it does not run, decided at planning: by its own condition or its stage's
	Later       []Later           `json:"later,omitempty"`   // what is decided when it would start
	Concurrency *Concurrency      `json:"concurrency,omitempty"`
	Outputs     map[string]string `json:"outputs,omitempty"` // declared outputs, name to type: string, boolean, integer, number or json
	MayAdd      *MayAdd           `json:"may_add,omitempty"`
	AddedBy     string            `json:"added_by,omitempty"` // the task that may add this one: it runs if that one's fragment has it
	Steps       []Step            `json:"steps"`
}

// Condition is a `when`, and what planning made of it.
type Condition struct {
	Expr     string         `json:"expr"` // as written
	Verdict  Verdict        `json:"verdict"`
	Saw      map[string]any `json:"saw,omitempty"`      // the values that decided it, by what the expression calls them
	Residual string         `json:"residual,omitempty"` // CEL that is left to be decided, when the verdict is later
}

// Verdict is what is known of a condition at planning.
type Verdict string

// The verdicts of a condition.
const (
	VerdictTrue  Verdict = "true"
	VerdictFalse Verdict = "false"
	VerdictLater Verdict = "later" // it needs what only the run will know
)

// Later is a field of a task that is decided when the task would start, from outputs of tasks before it and the status of its run.
type Later struct {
	// Field is a JSON pointer within the task: "/when" says whether it runs, "/steps/2/when" whether a step does; "/env/NAME"
	// and "/steps/2/env/NAME" are variables.
	Field string `json:"field"`
	Expr  string `json:"expr"` // residual CEL: a boolean for conditions, a string for variables
}

// Concurrency bounds how many tasks of a group are at work at once, over all runs of a project.
type Concurrency struct {
	Group      string     `json:"group"`
	Limit      int        `json:"limit"` // from 1
	OnConflict OnConflict `json:"on_conflict"`
}

// OnConflict says what becomes of a task whose group is full.
type OnConflict string

// What follows a full group.
const (
	ConflictWait       OnConflict = "wait"        // until there is room
	ConflictAbortOlder OnConflict = "abort_older" // the tasks of older runs in the group are aborted
	ConflictSkip       OnConflict = "skip"        // the task is skipped
)

// MayAdd declares that a step of the task may add tasks to its stage, made from a template.
type MayAdd struct {
	Template string          `json:"template"`
	Max      int             `json:"max"`
	Inputs   []FragmentInput `json:"inputs,omitempty"`
}

// Checkout is how much of the run's repository a task begins with; nil: the run's commit alone. Of a run whose source was uploaded
// only Off counts.
type Checkout struct {
	Off        bool `json:"off,omitempty"`
	Depth      int  `json:"depth,omitempty"` // commits of history; 0: one; -1: all
	Submodules bool `json:"submodules,omitempty"`
	LFS        bool `json:"lfs,omitempty"`
}

// Retries says when a failed attempt is followed by another one.
type Retries struct {
	Limit   int      `json:"limit"`          // more attempts after the first, 1..10
	On      []string `json:"on"`             // failed, timeout, lost
	Exit    []int    `json:"exit,omitempty"` // exit codes that also count
	DelayMS int64    `json:"delay_ms,omitempty"`
}

// OnLost says what becomes of a task whose agent was lost.
type OnLost string

// What follows the loss of an agent.
const (
	OnLostRetry OnLost = "retry" // back to ready, at most 3 times
	OnLostFail  OnLost = "fail"  // failed(agent_lost); a person decides
)

// Step is the smallest action: one shell script.
type Step struct {
	UUID         string            `json:"uuid,omitempty"`
	Name         string            `json:"name"`
	Sh           string            `json:"sh"`
	Env          map[string]string `json:"env,omitempty"`
	Shell        []string          `json:"shell,omitempty"` // the command that gets the script's file as its last argument; /bin/sh -e if empty
	When         *Condition        `json:"when,omitempty"`
	Omitted      string            `json:"omitted,omitempty"`    // why it does not run, decided at planning
	Dir          string            `json:"dir,omitempty"`        // below the workspace, slash separated
	TimeoutMS    int64             `json:"timeout_ms,omitempty"` // 0: only the task's timeout holds
	AllowFailure bool              `json:"allow_failure,omitempty"`
	Always       bool              `json:"always,omitempty"`
	// ExitCodes is the whole table from exit code to outcome, defaults and remappings merged; a code that is not in
	// it, or a signal, means failed.
	ExitCodes map[string]string `json:"exit_codes"`
}

// Origin is where a value of the plan comes from.
type Origin struct {
	Kind   string `json:"kind"` // file, default, convention, given or model
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`   // from 1
	Column int    `json:"column,omitempty"` // from 1, in characters
	Note   string `json:"note,omitempty"`   // the rule, for defaults and conventions; how a value came to stand there, for others
	// Template names the template that the value belongs to, and Used says where it is used.
	Template string `json:"template,omitempty"`
	Used     string `json:"used,omitempty"`
}

// Encode gives the plan's canonical bytes and their digest, "sha256:" and 64 hex digits.
func (p *Plan) Encode() (body []byte, digest string, err error) {
	body, err = json.Marshal(p)
	if err != nil {
		return nil, "", fmt.Errorf("encode plan: %w", err)
	}
	sum := sha256.Sum256(body)
	return body, "sha256:" + hex.EncodeToString(sum[:]), nil
}
