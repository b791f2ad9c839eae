package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/agent/engine"
	"github.com/ottoci/otto/agent/isolation"
	"github.com/ottoci/otto/client"
)

// TestMain lets the test program be a keeper and, for the tests that kill one, an agent.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case agent.KeeperCommand:
			os.Exit(agent.Keeper(os.Args[2:]))
		case isolation.RelayCommand:
			os.Exit(isolation.Relay(os.Args[2:]))
		case isolation.EscapeCommand:
			os.Exit(isolation.Escape(os.Args[2:]))
		case "agent-process":
			os.Exit(agentProcess(os.Args[2]))
		}
	}
	goleak.VerifyTestMain(m)
}

// agentProcess runs an agent that has its process for itself.
func agentProcess(settings string) int {
	var cfg agent.Config
	if err := json.Unmarshal([]byte(settings), &cfg); err != nil {
		panic(err)
	}
	cfg.Environ = os.Environ()
	a, err := agent.New(cfg)
	if err == nil {
		err = a.Run(context.Background())
	}
	fmt.Fprintln(os.Stderr, "agent process ended:", err)
	return 1
}

// fixture is a running agent.
type fixture struct {
	*agent.Agent
	cfg   agent.Config
	ended chan error
}

// run starts an agent for the server; it is stopped at the end of the test, and must leave nothing behind.
func run(t *testing.T, s *server, change ...func(*agent.Config)) *fixture {
	t.Helper()
	f := &fixture{ended: make(chan error, 1), cfg: config(t, s)}
	for _, c := range change {
		c(&f.cfg)
	}
	var err error
	if f.Agent, err = agent.New(f.cfg); err != nil {
		t.Fatal(err)
	}
	go func() { f.ended <- f.Run(t.Context()) }()
	t.Cleanup(func() {
		f.Stop()
		f.left(t)
	})
	return f
}

func config(t *testing.T, s *server) agent.Config {
	cfg := agent.Config{
		URL: s.URL, Token: "otto_agent_secret", Name: "a1", Version: "test", WorkDir: filepath.Join(t.TempDir(), "work"),
		Environ:         []string{"PATH=" + os.Getenv("PATH"), "HOME=/home/of/host", "OTTO_TOKEN=otto_agent_secret", "LEAK=leaked"},
		ReconnectWindow: 50 * time.Millisecond, Shared: true, Engine: engine.Config{Host: agent.NoEngine},
		Log: slog.New(slog.DiscardHandler),
	}
	if os.Getenv("OTTO_TEST_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	return cfg
}

// left checks that the work directory is as empty as it should be.
func (f *fixture) left(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"*-*", "spool/*", "cache/.*"} {
		if found, _ := filepath.Glob(filepath.Join(f.cfg.WorkDir, pattern)); len(found) > 0 && !f.cfg.KeepWorkspace {
			t.Errorf("the agent left %v", found)
		}
	}
}

func (f *fixture) returned(t *testing.T) error {
	t.Helper()
	select {
	case err := <-f.ended:
		f.ended <- err
		return err
	case <-time.After(patience):
		t.Fatal("Run did not return")
		return nil
	}
}

func sh(script string) client.StepSpec { return client.StepSpec{Name: "step", Sh: script} }

func steps(specs ...client.StepSpec) client.TaskSpec {
	return client.TaskSpec{Name: "unit", TimeoutMS: 600_000, Steps: specs}
}

// states is what became of the steps, as "state(code reason)".
func states(reports []client.StepReport) string {
	var out []string
	for i, r := range reports {
		if r.Index != i {
			return fmt.Sprintf("step %d is reported as %d", i, r.Index)
		}
		s := r.State
		if r.ExitCode != nil {
			s += fmt.Sprintf(" %d", *r.ExitCode)
		}
		if r.Reason != "" {
			s += " " + r.Reason
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func TestTaskRunsEndToEnd(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s)
	rec := s.give(steps(sh("echo one; echo two >&2"), sh("printf three")))
	result := s.finished(t, rec)
	if got := states(result.Steps); got != "succeeded 0, succeeded 0" || result.Outcome != "" || *result.ExitCode != 0 {
		t.Errorf("got %s, %+v", got, result)
	}
	log := s.logOf(t, rec, result.Log)
	if text(log, "stdout") != "one\nthree" || text(log, "stderr") != "two\n" {
		t.Errorf("got %q and %q", text(log, "stdout"), text(log, "stderr"))
	}
	var marks []string
	for _, p := range log {
		if p.Kind == client.SegmentBegin || p.Kind == client.SegmentEnd {
			marks = append(marks, fmt.Sprint(p.Kind, p.Step, p.State))
		}
	}
	if got := strings.Join(marks, " "); got != "begin0 end0succeeded begin1 end1succeeded" {
		t.Errorf("got %s", got)
	}
}

func TestExitCodesAreExact(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, script, want string
		remap              map[string]string
	}{
		{"0", "exit 0", "succeeded 0", nil},
		{"1", "exit 1", "failed 1", nil},
		{"2", "exit 2", "aborted 2", nil},
		{"3", "exit 3", "unstable 3", nil},
		{"4", "exit 4", "failed 4", nil},
		{"127", "no-such-program-anywhere", "failed 127", nil},
		{"255", "exit 255", "failed 255", nil},
		{"137_is_not_a_signal", "exit 137", "failed 137", nil},
		{"sigkill", "kill -9 $$", "failed 137 signal SIGKILL", nil},
		{"sigterm", "kill -TERM $$", "failed 143 signal SIGTERM", nil},
		{"remapped", "exit 2", "failed 2", map[string]string{"0": "succeeded", "2": "failed"}},
		{"signal_is_not_remapped", "kill -9 $$", "failed 137 signal SIGKILL", map[string]string{"0": "succeeded", "137": "succeeded"}},
		{"first_failing_line_ends_it", "false\nexit 0", "failed 1", nil},
		{"last_line_counts", "if false; then :; fi\ntrue", "succeeded 0", nil},
		{"stdin_is_empty", "test -z \"$(cat)\"", "succeeded 0", nil},
		{"empty_script", "", "succeeded 0", nil},
	}
	s := newServer(t)
	run(t, s, func(c *agent.Config) { c.Capacity = 4 })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			step := sh(tt.script)
			step.ExitCodes = tt.remap
			if got := states(s.finished(t, s.give(steps(step))).Steps); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
