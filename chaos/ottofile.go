package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
)

// An Ottofile of the load. It is JSON, which is YAML too.
type (
	ottofile struct {
		Name      string  `json:"name"`
		Stages    []stage `json:"stages"`
		OnFailure []stage `json:"on_failure,omitempty"`
		Always    []stage `json:"always,omitempty"`
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
		When         string            `json:"when,omitempty"`
		Needs        []string          `json:"needs,omitempty"`
		Outputs      []string          `json:"outputs,omitempty"`
		Concurrency  *concurrency      `json:"concurrency,omitempty"`
		AllowFailure bool              `json:"allow_failure,omitempty"`
		Always       bool              `json:"always,omitempty"`
		Retries      *retries          `json:"retries,omitempty"`
		OnLost       string            `json:"on_lost,omitempty"`
		Timeout      string            `json:"timeout"`
	}
	step struct {
		Name string `json:"name"`
		Sh   string `json:"sh"`
		When string `json:"when,omitempty"`
	}
	concurrency struct {
		Group      string `json:"group"`
		Limit      int    `json:"limit"`
		OnConflict string `json:"on_conflict"`
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

// writer makes an Ottofile, and knows what its tasks are so far.
type writer struct {
	r         *rand.Rand
	env       map[string]string
	before    []string        // tasks of stages before
	here      []string        // tasks before in the same stage
	producers map[string]bool // of them, those that have an output
	last      bool            // the stages after the others have begun
	waits     bool            // the stage waits for all before: its tasks need nothing else
}

// newOttofile makes a pipeline from the seed of a submission, which n names. Most of it succeeds, or nothing would get far.
func newOttofile(r *rand.Rand, n uint64, env map[string]string) string {
	w := &writer{r: r, env: env, producers: map[string]bool{}}
	o := ottofile{Name: fmt.Sprint("chaos-", n)} // so no two submissions have the same text
	for s := range 1 + r.IntN(3) {
		o.Stages = append(o.Stages, w.stage(fmt.Sprint("s", s)))
	}
	if r.IntN(3) == 0 {
		w.last = true
		o.OnFailure = []stage{w.stage("f")}
	}
	if r.IntN(3) == 0 {
		w.last = true
		o.Always = []stage{w.stage("z")}
	}
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // it is made of strings and numbers
	}
	return string(text)
}

func (w *writer) stage(name string) stage {
	s := stage{Stage: name, Mode: pick(w.r, "linear", "parallel", "fanout"), Always: w.r.IntN(8) == 0 && !w.last}
	w.waits = s.Always || w.last
	for t := range 1 + w.r.IntN(4) {
		s.Tasks = append(s.Tasks, w.task(fmt.Sprintf("%s-%d", name, t)))
	}
	w.before, w.here = append(w.before, w.here...), nil
	return s
}

func (w *writer) task(name string) task {
	r := w.r
	t := task{Task: name, Env: w.env, AllowFailure: r.IntN(5) == 0, Always: r.IntN(8) == 0, OnLost: pick(r, "retry", "retry", "fail"), Timeout: "30s"}
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
	w.place(&t)
	w.condition(&t)
	if r.IntN(3) == 0 {
		t.Outputs = []string{output}
		t.Steps = append(t.Steps, step{Name: "tells", Sh: note + fmt.Sprintf("echo %s=%s >> \"$OTTO_OUTPUT\"", output, pick(r, goes, goes, "no"))})
		w.producers[name] = true
	}
	w.here = append(w.here, name)
	return t
}

// place says what a task waits for, besides the stages before: others of the run, or those at work in its group, of any run.
func (w *writer) place(t *task) {
	if all := append(slices.Clone(w.before), w.here...); len(all) > 0 && !w.waits && w.r.IntN(4) == 0 {
		for range 1 + w.r.IntN(2) {
			if need := pick(w.r, all...); !slices.Contains(t.Needs, need) {
				t.Needs = append(t.Needs, need)
			}
		}
	}
	if w.r.IntN(4) == 0 {
		limit := 1 + w.r.IntN(2)
		t.Concurrency = &concurrency{fmt.Sprint("of-", limit), limit, pick(w.r, "wait", "wait", "wait", "skip", "abort_older")}
	}
}

const (
	output = "verdict" // of tasks that have one
	goes   = "go"      // what it must be, for those that ask
)

// condition makes a task, or its first step, depend on what a task before says, or leaves it out from the beginning.
func (w *writer) condition(t *task) {
	asked := w.before
	if t.Needs != nil { // outputs come from what a task needs
		asked = t.Needs
	}
	asked = slices.DeleteFunc(slices.Clone(asked), func(name string) bool { return !w.producers[name] })
	when := "false"
	if len(asked) > 0 {
		when = late(pick(w.r, asked...))
	}
	switch kind := w.r.IntN(24); {
	case kind == 0:
		t.When = "false"
	case kind < 6 && when != "false":
		t.When = when
	case kind < 9 && len(t.Steps) > 1:
		t.Steps[0].When = when
	}
}

// late is a condition on the output of a task, which that may not have: it may be skipped.
func late(task string) string {
	return fmt.Sprintf(`outputs[?%q].?%s.orValue("none") == %q`, task, output, goes)
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }
