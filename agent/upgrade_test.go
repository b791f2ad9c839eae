package agent_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/client"
)

// An agent that retires lets its tasks end, however long they take; the time to drain counts once somebody wants it to end.
func TestRetire(t *testing.T) {
	t.Parallel()
	for name, hurry := range map[string]func(*fixture){"to_the_end": nil, "until_it_is_to_drain": func(f *fixture) { f.Drain() }, "until_it_is_to_stop": func(f *fixture) { go f.Stop() }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			f := run(t, s, func(c *agent.Config) { c.DrainTimeout = time.Millisecond })
			leave := filepath.Join(t.TempDir(), "leave")
			rec := s.give(steps(sh("echo begun; until [ -e " + leave + " ]; do sleep 0.02; done")))
			s.wait(t, "first output", func() bool { return len(rec.chunks) > 0 })
			f.Retire()
			beats := 0
			s.wait(t, "several heartbeats that say so", func() bool {
				beats = 0
				for _, b := range s.beats {
					if b.Draining && len(b.Leases) == 1 {
						beats++
					}
				}
				return beats > 3
			})
			if hurry != nil {
				hurry(f)
			} else if err := os.WriteFile(leave, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := f.returned(t); err != nil {
				t.Fatal(err)
			}
			if ended := rec.finish != nil; ended != (hurry == nil) || (rec.release != nil) == ended {
				t.Errorf("finish %+v, release %+v", rec.finish, rec.release)
			}
		})
	}
}

// A one-shot agent ends only once its result and its log are the server's, whatever answers get lost (R48, shortened).
func TestOnceLeavesNothingUnsaid(t *testing.T) {
	t.Parallel()
	faults := []fault{none, drop, dropAnswer, fail, twice}
	for n := range 25 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.fault = func(op string, try int) fault {
				if try > 2 || op == "take" || op == "heartbeat" || op == "hello" || op == "bye" {
					return none
				}
				return faults[(n+try*(n/len(faults)))%len(faults)]
			}
			f := run(t, s, func(c *agent.Config) { c.Once = true })
			rec := s.give(steps(sh(fmt.Sprintf("echo hello %d", n))))
			if err := f.returned(t); err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			finish, release, byes := rec.finish, rec.release, s.calls["bye"]
			s.mu.Unlock()
			if finish == nil || release != nil || byes != 1 {
				t.Fatalf("finish %+v, release %+v, %d byes", finish, release, byes)
			}
			if log := s.logOf(t, rec, finish.Log); text(log, "stdout") != fmt.Sprintf("hello %d\n", n) {
				t.Errorf("log %q", text(log, "stdout"))
			}
		})
	}
}

// With a new enrolment token, an agent whose credential is refused gets another one; without, it says what to do.
func TestEnrolAgain(t *testing.T) {
	t.Parallel()
	state := func(t *testing.T) string {
		path := filepath.Join(t.TempDir(), "state.json")
		if err := os.WriteFile(path, []byte(`{"url":"x","agent":3,"name":"a","token":"otto_agent_revoked"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	refuse := func(s *server, times int) func(string, int) fault {
		return func(op string, n int) fault {
			if op == "hello" && n <= times {
				return unauthorized
			}
			return none
		}
	}
	t.Run("with_a_token", func(t *testing.T) {
		t.Parallel()
		s, path := newServer(t), state(t)
		s.fault = refuse(s, 1)
		run(t, s, func(c *agent.Config) { c.Token, c.StateFile, c.EnrolToken = "", path, "otto_enrol_new" })
		rec := s.give(steps(sh("echo hello")))
		s.finished(t, rec)
		body, err := os.ReadFile(path)
		var stored struct{ Token string }
		if err != nil || json.Unmarshal(body, &stored) != nil || stored.Token != "otto_agent_enrolled" {
			t.Errorf("the state file has %s, %v", body, err)
		}
	})
	t.Run("without", func(t *testing.T) {
		t.Parallel()
		s, path := newServer(t), state(t)
		s.fault = refuse(s, 1000)
		f := run(t, s, func(c *agent.Config) { c.Token, c.StateFile = "", path })
		err := f.returned(t)
		if !client.IsStatus(err, 401) || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("with_a_token_that_was_used", func(t *testing.T) {
		t.Parallel()
		s, path := newServer(t), state(t)
		s.fault = func(op string, _ int) fault {
			if op == "hello" || op == "enrol" {
				return unauthorized
			}
			return none
		}
		f := run(t, s, func(c *agent.Config) { c.Token, c.StateFile, c.EnrolToken = "", path, "otto_enrol_used" })
		err := f.returned(t)
		if !client.IsStatus(err, 401) || !strings.Contains(err.Error(), "the enrolment token does not help") {
			t.Errorf("got %v", err)
		}
		if body, err := os.ReadFile(path); err != nil || !strings.Contains(string(body), "otto_agent_revoked") {
			t.Errorf("the state file has %s, %v", body, err)
		}
	})
}
