package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// report is the verdict and what it rests on.
type report struct {
	Passed    bool           `json:"passed"`
	Seed      uint64         `json:"seed"`
	Safety    time.Duration  `json:"safety_ns"`
	Liveness  time.Duration  `json:"liveness_ns"` // from the end of the faults until everything was finished
	Looks     int            `json:"looks"`       // at all invariants, while faults were on
	Counts    counts         `json:"counts"`
	Runs      map[string]int `json:"runs"`               // by state
	Attempts  map[string]int `json:"attempts"`           // by how they ended
	Omissions map[string]int `json:"omissions"`          // tasks that did not run, by why
	Done      map[string]int `json:"faults"`             // by kind
	Faults    []fault        `json:"fault_list"`         // in the order of their beginning
	LeftOut   string         `json:"left_out,omitempty"` // faults that this machine does not allow, and why
	Broken    []breach       `json:"broken"`
	Repeat    string         `json:"repeat"` // the shortest command that does it again
	Dir       string         `json:"dir,omitempty"`

	cfg   config
	began time.Time
	talk  io.Writer
	mu    sync.Mutex
	seen  map[string]bool
}

// counts are the sizes of what was judged.
type counts struct {
	Runs       int `json:"runs"`
	Tasks      int `json:"tasks"`
	Attempts   int `json:"attempts"`
	Executions int `json:"executions"` // of steps
	Events     int `json:"events"`
	LogBytes   int `json:"log_bytes"`
	Truncated  int `json:"truncated"` // logs whose agent died before it had sent all of them
	Requests   int `json:"requests"`
	Duplicated int `json:"duplicated"`
	Delayed    int `json:"delayed"`
	Lost       int `json:"lost"` // requests or answers
	Operations int `json:"operations"`
	Starts     int `json:"starts"` // of processes
}

// breach is a promise that was broken.
type breach struct {
	At      time.Duration `json:"at_ns"` // since the safety phase began
	Promise string        `json:"promise"`
	Detail  string        `json:"detail"`
}

func newReport(cfg config) *report {
	return &report{Seed: cfg.Seed, cfg: cfg, Dir: cfg.Dir, began: time.Now(), talk: cfg.Talk, seen: map[string]bool{}, Broken: []breach{}}
}

// say tells whoever waits what is going on.
func (r *report) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.talk, "chaos: "+format+"\n", args...)
}

// starts is when the times of breaches begin to count: with those of the faults.
func (r *report) starts() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began = time.Now()
}

// broken notes a breach, once.
func (r *report) broken(promise, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[promise+detail] {
		return
	}
	r.seen[promise+detail] = true
	r.Broken = append(r.Broken, breach{time.Since(r.began), promise, detail})
	fmt.Fprintf(r.talk, "chaos: BROKEN: %s: %s\n", promise, detail)
}

func (r *report) conclude() {
	r.Passed = len(r.Broken) == 0
	r.Done = counted(r.Faults)
	r.Repeat = r.repeat()
}

// afterwards is how long a breach may have gone unnoticed, and with that how much longer a repetition must be.
const afterwards = 5 * time.Second

// repeat is the shortest command that does it again. The seed decides fault after fault, so what came long after the first
// breach can be left out.
func (r *report) repeat() string {
	long := r.cfg.Time
	for _, b := range r.Broken {
		long = min(long, b.At.Truncate(time.Second)+afterwards)
	}
	command := fmt.Sprintf("go run ./chaos -seed %d -time %s", r.Seed, long)
	if r.cfg.Settle != defaultSettle {
		command += fmt.Sprintf(" -settle %s", r.cfg.Settle)
	}
	if len(r.cfg.Only) > 0 {
		command += " -only " + strings.Join(r.cfg.Only, ",")
	}
	return command
}

// text is the report for people: the verdict last, where the eye is.
func (r *report) text() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	if !r.Passed {
		b.WriteString("faults, since the beginning:\n")
		for _, f := range byTime(r.Faults) {
			fmt.Fprintf(&b, "  %s\n", f)
		}
	}
	c := r.Counts
	line("faults", "%d: %s", sum(r.Done), list(r.Done))
	if r.LeftOut != "" {
		line("left out", "%s", strings.Join(strings.Fields(r.LeftOut), " "))
	}
	line("load", "%d runs (%s), %d tasks, %d attempts (%s), %d steps executed", c.Runs, list(r.Runs), c.Tasks, c.Attempts, list(r.Attempts), c.Executions)
	if len(r.Omissions) > 0 {
		line("omitted", "%d tasks: %s", sum(r.Omissions), list(r.Omissions))
	}
	line("traffic", "%d requests, %d of them sent twice, %d late, %d lost; %d process starts", c.Requests, c.Duplicated, c.Delayed, c.Lost, c.Starts)
	line("judged", "%d looks at %d invariants under faults, %d events replayed, %d lease operations linearised, %.1f MB of logs compared (%d cut short by the death of their agent)",
		r.Looks, len(always()), c.Events, c.Operations, float64(c.LogBytes)/1e6, c.Truncated)
	line("time", "%.0fs with faults, all finished %.1fs after them", r.Safety.Seconds(), r.Liveness.Seconds())
	if r.Passed {
		line("verdict", "passed, seed %d", r.Seed)
		return b.String()
	}
	for _, broken := range r.Broken {
		fmt.Fprintf(&b, "BROKEN     %7.2fs  %s: %s\n", broken.At.Seconds(), broken.Promise, broken.Detail)
	}
	line("verdict", "FAILED, seed %d: %d breaches; what the processes said is in %s", r.Seed, len(r.Broken), r.Dir)
	line("repeat", "%s", r.Repeat)
	return b.String()
}

func sum(m map[string]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}

// list writes counts by name: "failed 3, succeeded 20".
func list(m map[string]int) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprint(name, " ", m[name]))
	}
	return strings.Join(out, ", ")
}
