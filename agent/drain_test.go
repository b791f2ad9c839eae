package agent_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/client"
)

func TestDrainLetsTasksEnd(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	f := run(t, s, func(c *agent.Config) { c.Capacity = 2 })
	permit := t.TempDir() + "/go"
	rec := s.give(steps(sh("echo begun; until test -e " + permit + "; do sleep 0.02; done")))
	s.wait(t, "first output", func() bool { return len(rec.chunks) > 0 })
	f.Drain()
	s.wait(t, "a heartbeat that says so", func() bool {
		n := len(s.beats)
		return n > 0 && s.beats[n-1].Draining && len(s.beats[n-1].Leases) == 1
	})
	late := s.give(steps(sh("true")))
	// The request that was held when the drain began may still bring a lease: it goes back at once.
	s.wait(t, "the late lease to be handed back, if it was given", func() bool { return !late.granted || late.release != nil })
	s.wait(t, "more heartbeats", func() bool { return s.calls["heartbeat"] > 5 })
	if err := os.WriteFile(permit, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.returned(t); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if rec.finish == nil || states(rec.finish.Steps) != "succeeded 0" || len(rec.chunks) != rec.finish.Log.Chunks || s.calls["bye"] != 1 {
		t.Errorf("got %+v, %d chunks, %d byes", rec.finish, len(rec.chunks), s.calls["bye"])
	}
}

func TestCancelledRunDrains(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	a, err := agent.New(config(t, s))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	rec := s.give(steps(sh("echo begun; sleep 0.3; echo ended")))
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	s.wait(t, "first output", func() bool { return len(rec.chunks) > 0 })
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := states(s.finished(t, rec).Steps); got != "succeeded 0" {
		t.Errorf("got %s", got)
	}
}

func TestWorkIsHandedBack(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		end    func(*fixture)
		reason string
	}{
		"by_stop": {func(f *fixture) {
			f.Drain()
			var calls sync.WaitGroup
			calls.Go(f.Stop)
			calls.Go(f.Stop)
			calls.Wait()
		}, "the agent stops"},
		"after_the_drain_timeout": {func(f *fixture) { f.Drain() }, "the agent drained for too long"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			f := run(t, s, func(c *agent.Config) {
				if name == "after_the_drain_timeout" {
					c.DrainTimeout = 100 * time.Millisecond
				}
			})
			spec := steps(sh("trap '' TERM; echo begun; while :; do sleep 1000; done"), client.StepSpec{Sh: "true", Always: true})
			spec.Env = map[string]string{"MARK": t.Name()}
			rec := s.give(spec)
			s.wait(t, "first output", func() bool { return len(rec.chunks) > 0 })
			tt.end(f)
			if err := f.returned(t); err != nil {
				t.Fatal(err)
			}
			if rec.release == nil || rec.release.Reason != tt.reason || rec.finish != nil {
				t.Errorf("got %+v, %+v", rec.release, rec.finish)
			}
			if rec.release != nil {
				s.logOf(t, rec, rec.release.Log)
			}
			if pids := marked(t.Name()); len(pids) > 0 {
				t.Errorf("still there: %v", pids)
			}
			f.left(t)
		})
	}
}

func TestOnceTakesOneTaskAndLeaves(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	f := run(t, s, func(c *agent.Config) { c.Once, c.Capacity = true, 5 })
	rec := s.give(steps(sh("echo hello")))
	if err := f.returned(t); err != nil {
		t.Fatal(err)
	}
	s.logOf(t, rec, s.finished(t, rec).Log)
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := strings.Join(s.order, " "); strings.Count(got, "finish") != 1 || s.calls["bye"] != 1 {
		t.Errorf("got %s, %d byes", got, s.calls["bye"])
	}
}

func TestStopWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.fault = func(string, int) fault { return drop }
	f := run(t, s)
	s.wait(t, "a few tries", func() bool { return s.calls["hello"] > 3 })
	f.Stop()
	if err := f.returned(t); err != nil {
		t.Fatal(err)
	}
}

func TestCredential(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	state := filepath.Join(t.TempDir(), "new", "agent.json")
	enrol := func(c *agent.Config) {
		c.Token, c.EnrolToken, c.StateFile = "", "otto_enrol_x", state
		c.Labels = map[string]any{"gpu": true, "cores": 64}
	}
	first := run(t, s, enrol)
	s.wait(t, "hello", func() bool { return s.calls["hello"] > 0 })
	first.Stop()
	info, err := os.Stat(state)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("got %v, %v", info, err)
	}
	again := run(t, s, enrol, func(c *agent.Config) { c.EnrolToken = "" })
	s.finished(t, s.give(steps(sh("true"))))
	again.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls["enrol"] != 1 || s.tokens[0] != "Bearer otto_enrol_x" || s.tokens[len(s.tokens)-1] != "Bearer otto_agent_enrolled" {
		t.Errorf("got %d enrolments, %v", s.calls["enrol"], s.tokens)
	}
	offer := s.offers[0]
	if offer.Name != "a1" || offer.Capacity != 1 || offer.Offers["os"] != "linux" || offer.Offers["gpu"] != true || offer.Offers["cores"] != 64.0 {
		t.Errorf("got %+v", offer)
	}
	if gb, ok := offer.Offers["memory_gb"].(float64); !ok || gb < 1 {
		t.Errorf("got %v GB", offer.Offers["memory_gb"])
	}
}

func TestRefusedCredentialIsFatal(t *testing.T) {
	t.Parallel()
	tests := map[string]func(op string, n int) fault{
		"at_hello": func(op string, _ int) fault { return map[bool]fault{true: unauthorized}[op == "hello"] },
		"later":    func(op string, _ int) fault { return map[bool]fault{true: unauthorized}[op != "hello"] },
	}
	for name, faults := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.settings.LeaseTTLMS = 300
			s.fault = faults
			state := filepath.Join(t.TempDir(), "agent.json")
			body, _ := json.Marshal(map[string]string{"token": "otto_agent_revoked"})
			if err := os.WriteFile(state, body, 0o600); err != nil {
				t.Fatal(err)
			}
			f := run(t, s, func(c *agent.Config) { c.Token, c.StateFile = "", state })
			err := f.returned(t)
			if !client.IsStatus(err, http.StatusUnauthorized) || !strings.Contains(err.Error(), state) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWorkDirectoryIsUsedByOneAgent(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	f := run(t, s)
	s.wait(t, "hello", func() bool { return s.calls["hello"] > 0 })
	second, err := agent.New(f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "is used by another agent") {
		t.Errorf("got %v", err)
	}
}

func TestSweepTouchesOnlyWhatIsOurs(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	cfg := config(t, s)
	for _, name := range []string{"00000000-0000-4000-8000-00000000dead/workspace/f", "spool/00000000-0000-4000-8000-00000000dead/x", "photos/f"} {
		path := filepath.Join(cfg.WorkDir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := run(t, s, func(c *agent.Config) { c.WorkDir = cfg.WorkDir })
	s.wait(t, "hello", func() bool { return s.calls["hello"] > 0 })
	f.left(t)
	if _, err := os.Stat(filepath.Join(cfg.WorkDir, "photos/f")); err != nil {
		t.Error(err)
	}
}
