package agent_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/client"
)

func TestLogIsExact(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, script string }{
		{"half_a_million_lines", "yes 'a line of about one hundred bytes, as a compiler likes to write them, with a number: 0123456789' | head -n 500000"},
		{"one_line_of_50_MB", "head -c 50000000 /dev/zero | tr '\\0' x"},
		{"random_bytes", "head -c 3000000 /dev/urandom | tee copy"},
		{"nul_and_invalid_utf8", `printf '\000\377\376\033[31mred\r\n\303'`},
	}
	s := newServer(t)
	run(t, s, func(c *agent.Config) { c.Capacity = 2 })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// The step itself sums what it writes, and says so on the other output.
			rec := s.give(steps(sh("mkfifo f; sha256sum <f >&2 & { " + tt.script + "; } | tee f; wait")))
			result := s.finished(t, rec)
			log := s.logOf(t, rec, result.Log)
			sum := sha256.Sum256([]byte(text(log, "stdout")))
			want, _, _ := strings.Cut(text(log, "stderr"), " ")
			if got := hex.EncodeToString(sum[:]); got != want {
				t.Errorf("got %s of %d bytes, want %s", got, len(text(log, "stdout")), want)
			}
		})
	}
}

func TestSpoolSlowsTheStepDown(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var away atomic.Bool
	away.Store(true)
	s.fault = func(op string, _ int) fault {
		if op == "log" && away.Load() {
			return drop
		}
		return none
	}
	f := run(t, s, func(c *agent.Config) { c.SpoolBytes = 1 << 20 })
	rec := s.give(steps(sh("head -c 8000000 /dev/urandom")))
	spool := filepath.Join(f.cfg.WorkDir, "spool", rec.lease.ID)
	until(t, patience, "a full spool", func() bool {
		info, err := os.Stat(spool)
		return err == nil && info.Size() >= f.cfg.SpoolBytes
	})
	beats := 0
	s.mu.Lock()
	beats = len(s.beats)
	s.mu.Unlock()
	s.wait(t, "heartbeats meanwhile", func() bool { return len(s.beats) > beats+5 })
	if info, err := os.Stat(spool); err != nil || info.Size() > f.cfg.SpoolBytes+4<<20 {
		t.Errorf("the spool is %v bytes long: %v", info.Size(), err)
	}
	away.Store(false)
	result := s.finished(t, rec)
	if got := len(text(s.logOf(t, rec, result.Log), "stdout")); got != 8_000_000 {
		t.Errorf("got %d bytes", got)
	}
}

// One line without an end is cut at the log's limit, with a mark; the step does not notice.
func TestLogIsCutAtItsLimit(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s, func(c *agent.Config) { c.LogBytes = 3_000_000 })
	rec := s.give(steps(sh("head -c 20000000 /dev/zero | tr '\\0' x"), sh("echo after")))
	result := s.finished(t, rec)
	log := s.logOf(t, rec, result.Log)
	if got := len(text(log, "stdout")); got != 3_000_000 {
		t.Errorf("%d bytes are kept", got)
	}
	if got := text(log, "agent"); strings.Count(got, "the log is cut here") != 1 {
		t.Errorf("the agent says %q", got)
	}
	for _, step := range result.Steps {
		if step.State != client.Succeeded {
			t.Errorf("step %d is %s", step.Index, step.State)
		}
	}
}

// Whatever happens to requests, the task runs once, and its log and result arrive whole.
func TestFaultsOfTheNetwork(t *testing.T) {
	t.Parallel()
	every := func(n int, f fault) func(string, int) fault {
		return func(op string, i int) fault {
			if i%n == 0 || i == 1 {
				return f
			}
			return none
		}
	}
	tests := map[string]func(string, int) fault{
		"connections_cut":    every(2, drop),
		"answers_lost":       every(2, dropAnswer),
		"errors":             every(2, fail),
		"everything_twice":   every(1, twice),
		"outage_of_all":      func(_ string, i int) fault { return map[bool]fault{true: drop}[i > 1 && i < 6] },
		"heartbeats_hanging": func(op string, _ int) fault { return map[bool]fault{true: hang}[op == "heartbeat"] },
	}
	for name, faults := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.fault = func(op string, n int) fault {
				if op == "take" && (faults(op, n) == dropAnswer || faults(op, n) == twice) {
					return none // this server does not offer a lease again
				}
				return faults(op, n)
			}
			run(t, s)
			script := "echo x >>$OTTO_WORKSPACE/../../ran; for i in 1 2 3 4 5 6; do seq $i 1000; sleep 0.15; done; sha256sum </dev/null >&2"
			rec := s.give(steps(sh(script), sh("cat ../../ran; rm ../../ran")))
			result := s.finished(t, rec)
			if got := states(result.Steps); got != "succeeded 0, succeeded 0" {
				t.Errorf("got %s", got)
			}
			log := s.logOf(t, rec, result.Log)
			if got := strings.Count(text(log, "stdout"), "\n"); got != 6000-15+1 {
				t.Errorf("got %d lines", got)
			}
		})
	}
}

func TestFencedLeaseIsKilledAndDropped(t *testing.T) {
	t.Parallel()
	tests := map[string]func(s *server, rec *record){
		"by_heartbeat": func(s *server, rec *record) { s.locked(func() { rec.fenced = true }) },
		"by_log": func(s *server, rec *record) {
			s.locked(func() {
				s.fault = func(op string, _ int) fault { return map[bool]fault{true: fenced}[op == "log"] }
			})
		},
	}
	for name, fence := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			f := run(t, s)
			spec := steps(sh("trap '' TERM; while :; do echo tick; sleep 0.02; done"), client.StepSpec{Sh: "echo never >" + f.cfg.WorkDir + "/ran", Always: true})
			spec.Env = map[string]string{"MARK": t.Name()}
			rec := s.give(spec)
			s.wait(t, "first output", func() bool { return len(rec.chunks) > 0 })
			fence(s, rec)
			until(t, patience, "the end of the processes", func() bool { return len(marked(t.Name())) == 0 })
			s.finished(t, s.give(steps()))
			f.Stop()
			if _, err := os.Stat(f.cfg.WorkDir + "/ran"); err == nil || rec.finish != nil || rec.release != nil {
				t.Errorf("a lost lease went on: %v %v", rec.finish, rec.release)
			}
		})
	}
}

func TestRefusedStartRunsNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.fault = func(op string, n int) fault { return map[bool]fault{true: fenced}[op == "start" && n == 1] }
	f := run(t, s)
	s.give(steps(sh("echo never >../../ran")))
	s.finished(t, s.give(steps(sh("true"))))
	if _, err := os.Stat(f.cfg.WorkDir + "/ran"); err == nil {
		t.Error("the step ran")
	}
}

// A result is worth more than its log: it does not wait for it.
func TestResultDoesNotWaitForTheLog(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var away atomic.Bool
	away.Store(true)
	s.fault = func(op string, _ int) fault { return map[bool]fault{true: hang}[op == "log" && away.Load()] }
	run(t, s)
	rec := s.give(steps(sh("echo hello")))
	s.wait(t, "the result", func() bool { return rec.finish != nil })
	s.finished(t, s.give(steps()))
	away.Store(false)
	s.CloseClientConnections()
	s.logOf(t, rec, s.finished(t, rec).Log)
}

// A heartbeat sent before the result and answered after it finds the lease ended.
func TestHeartbeatThatCrossesTheResult(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var rec *record
	var away atomic.Bool
	away.Store(true)
	s.fault = func(op string, n int) fault {
		switch {
		case op == "finish" && n < 10:
			return dropAnswer // the server has the result, the agent does not know
		case op == "log" && away.Load():
			return fail
		}
		return none
	}
	run(t, s)
	rec = s.give(steps(sh("echo hello")))
	s.wait(t, "heartbeats after the result", func() bool { return rec.finishes >= 10 })
	away.Store(false)
	if got := text(s.logOf(t, rec, s.finished(t, rec).Log), "stdout"); got != "hello\n" {
		t.Errorf("got %q", got)
	}
}

func TestRequestForOrdersIsReplacedWhenASlotIsFree(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s)
	s.finished(t, s.give(steps(sh("sleep 0.3"))))
	// The held request said that nothing is free; waiting for its end would take half a minute.
	s.finished(t, s.give(steps(sh("true"))))
	s.mu.Lock()
	defer s.mu.Unlock()
	var free []int
	for _, take := range s.takes {
		free = append(free, take.Free)
	}
	if !slices.Contains(free, 0) || free[len(free)-1] == 0 && len(free) < 4 {
		t.Errorf("got %v", free)
	}
}

// A server that counts the slot of a result in the request that it holds gets no new request for each task.
func TestSlotsAreCountedInTheHeldRequest(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.settings.Protocol = append(s.settings.Protocol, client.ProtocolCounting)
	run(t, s)
	end := filepath.Join(t.TempDir(), "end")
	first := s.give(steps(sh("while [ ! -e " + end + " ]; do sleep 0.01; done")))
	s.wait(t, "the agent is full and asks for orders", func() bool { return s.held != nil && s.held.Free == 0 && s.held.Counting > 0 })
	s.mu.Lock()
	takes := len(s.takes)
	s.mu.Unlock()
	second := s.give(steps(sh("true")))
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.finished(t, first)
	s.finished(t, second)
	s.mu.Lock()
	defer s.mu.Unlock()
	if second.release != nil || len(s.takes) > takes+1 || s.takes[takes-1].Free != 0 {
		t.Errorf("requests %+v, the second task was released: %v", s.takes, second.release != nil)
	}
}

func TestOutputOfManyTasksAtOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s, func(c *agent.Config) { c.Capacity = 8 })
	var records []*record
	for range 24 {
		records = append(records, s.give(steps(sh("echo $OTTO_TASK_ID; seq 1000 >&2"), sh("echo $OTTO_TASK_ID"))))
	}
	for _, rec := range records {
		log := s.logOf(t, rec, s.finished(t, rec).Log)
		want := strings.Repeat(fmt.Sprintln(rec.lease.Task), 2)
		if got := text(log, "stdout"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
