package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
)

// An Ottofile of the load. It is JSON, which is YAML too.
type (
	ottofile struct {
		Name   string  `json:"name"`
		Stages []stage `json:"stages"`
		Always []stage `json:"always,omitempty"`
	}
	stage struct {
		Stage  string `json:"stage"`
		Mode   string `json:"mode"`
		Always bool   `json:"always,omitempty"`
		Tasks  []task `json:"tasks"`
	}
	task struct {
		Task         string            `json:"task"`
		Env          map[string]string `json:"env"`
		Steps        []step            `json:"steps"`
		AllowFailure bool              `json:"allow_failure,omitempty"`
		Always       bool              `json:"always,omitempty"`
		Retries      *retries          `json:"retries,omitempty"`
		OnLost       string            `json:"on_lost,omitempty"`
		Timeout      string            `json:"timeout"`
	}
	step struct {
		Name string `json:"name"`
		Sh   string `json:"sh"`
	}
	retries struct {
		Limit int      `json:"limit"`
		On    []string `json:"on"`
		Delay string   `json:"delay"`
	}
)

// note is how each step begins: it says that it runs.
const note = `echo "$OTTO_TASK_ID $OTTO_ATTEMPT $OTTO_STEP" >> "$CHAOS_EXECUTIONS"` + "\n"

// scripts are what steps do, each with the exit code in mind: quick and slow ones, talkers, those that leave processes
// behind or die of a signal, and one that tells all it knows.
var scripts = []string{
	"echo quick; exit %d",
	"echo quick; exit %d",
	"for i in 1 2 3 4 5; do echo $i; sleep 0.2; done; exit %d",
	"sleep 3; echo slept; exit %d",
	"seq 1 150000; echo to stderr >&2; exit %d",
	"head -c 700000 /dev/zero | tr '\\0' x; exit %d",
	"sleep 600 & echo left one behind; exit %d",
	"trap '' TERM; sleep 1; echo stubborn; exit %d",
	"for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.5; done; exit %d",
	"[ %d = 0 ] || kill -9 $$; sleep 0.3",
	"seq 1 1200000; exit %d",
	"env; exit %d",
}

// flaky fails in the first attempt.
const flaky = "[ $OTTO_ATTEMPT -ge 2 ]"

// newOttofile makes a pipeline from the seed of a submission. Most of it succeeds, or nothing would get far.
func newOttofile(r *rand.Rand, env map[string]string) string {
	o := ottofile{Name: fmt.Sprint("chaos-", r.IntN(1000))}
	for s := range 1 + r.IntN(3) {
		o.Stages = append(o.Stages, newStage(r, fmt.Sprint("s", s), env))
	}
	if r.IntN(3) == 0 {
		o.Always = []stage{newStage(r, "z", env)}
	}
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // it is made of strings and numbers
	}
	return string(text)
}

func newStage(r *rand.Rand, name string, env map[string]string) stage {
	s := stage{Stage: name, Mode: pick(r, "linear", "parallel", "fanout"), Always: r.IntN(8) == 0}
	for t := range 1 + r.IntN(4) {
		s.Tasks = append(s.Tasks, newTask(r, fmt.Sprintf("%s-%d", name, t), env))
	}
	return s
}

func newTask(r *rand.Rand, name string, env map[string]string) task {
	t := task{Task: name, Env: env, AllowFailure: r.IntN(5) == 0, Always: r.IntN(8) == 0, OnLost: pick(r, "retry", "retry", "fail"), Timeout: "30s"}
	if r.IntN(3) == 0 {
		t.Retries = &retries{Limit: 1 + r.IntN(2), On: []string{"failed", "timeout", "lost"}, Delay: pick(r, "1ms", "200ms", "1s")}
		t.Steps = append(t.Steps, step{Name: "flaky", Sh: note + flaky})
	}
	for s := range 1 + r.IntN(3) {
		code := 0
		if r.IntN(16) == 0 {
			code = pick(r, 1, 2, 3, 75)
		}
		t.Steps = append(t.Steps, step{Name: fmt.Sprint("step-", s), Sh: note + fmt.Sprintf(pick(r, scripts...), code)})
	}
	return t
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }
