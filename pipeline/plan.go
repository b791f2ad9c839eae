// Package pipeline turns an Ottofile into a plan. It is pure: no I/O, no clock, no randomness; equal input gives
// byte-equal output.
package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// PlanVersion is the version of the plan's JSON form that this code writes.
const PlanVersion = 1

// Plan is what a run executes: immutable, fully expanded, every value with its origin.
type Plan struct {
	Version int     `json:"version"`
	UUID    string  `json:"uuid,omitempty"` // kept from a posted model, see Model
	Name    string  `json:"name,omitempty"`
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
	UUID   string `json:"uuid,omitempty"`
	Name   string `json:"name"`
	Mode   Mode   `json:"mode"`
	Always bool   `json:"always,omitempty"` // runs whatever happened before; cannot improve the result
	Tasks  []Task `json:"tasks"`
}

// Task is the unit given to one agent: one workspace, a list of steps.
type Task struct {
	UUID         string            `json:"uuid,omitempty"`
	Name         string            `json:"name"`
	Env          map[string]string `json:"env,omitempty"`
	Requires     map[string]any    `json:"requires,omitempty"` // capabilities an agent must offer: string, bool or number (at least)
	TimeoutMS    int64             `json:"timeout_ms"`         // over all steps; always > 0
	AllowFailure bool              `json:"allow_failure,omitempty"`
	Always       bool              `json:"always,omitempty"`
	Retries      *Retries          `json:"retries,omitempty"`
	OnLost       OnLost            `json:"on_lost"`
	Steps        []Step            `json:"steps"`
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
	Kind   string `json:"kind"` // file, default, convention or model
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`   // from 1
	Column int    `json:"column,omitempty"` // from 1, in characters
	Note   string `json:"note,omitempty"`   // the rule, for defaults and conventions; how a step was posted, for models
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
