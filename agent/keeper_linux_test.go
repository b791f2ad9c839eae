package agent

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// keepingAgent can start steps, and does nothing else.
func keepingAgent(t *testing.T) *Agent {
	t.Helper()
	a, err := New(Config{URL: "http://127.0.0.1:1", Token: "t", WorkDir: t.TempDir(), Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.closeSpare)
	return a
}

// script starts a step; the function waits for its end and gives its output.
func script(t *testing.T, a *Agent, sh string, env ...string) (*process, func() string) {
	t.Helper()
	var mu sync.Mutex
	var out []byte
	p, err := a.start(t.Context(), job{Argv: []string{"/bin/sh", "-ec", sh}, Dir: os.TempDir(), Env: append(env, "PATH="+os.Getenv("PATH"))},
		func(_ context.Context, _ string, b []byte) {
			mu.Lock()
			defer mu.Unlock()
			out = append(out, b...)
		})
	if err != nil {
		t.Fatal(err)
	}
	return p, func() string {
		<-p.ended
		return string(out)
	}
}

func TestKeeperServesStepAfterStep(t *testing.T) {
	t.Parallel()
	a := keepingAgent(t)
	large := make([]string, 10)
	for i := range large {
		large[i] = "V" + strconv.Itoa(i) + "=" + strings.Repeat("x", 100<<10) // together more than a socket holds
	}
	steps := []struct{ name, script, want string }{
		{"output", "echo $PPID", ""},
		{"failure", "echo $PPID; exit 3", "3"},
		{"left_behind", "echo $PPID; sleep 1001 & setsid sleep 1002 &", ""},
		{"killed_itself", "echo $PPID; kill -9 $$", "137"},
		{"no_such_directory", "", ""},
		{"large", "echo $PPID", ""},
	}
	keeper := ""
	for _, step := range steps {
		if step.name == "no_such_directory" {
			p, err := a.start(t.Context(), job{Argv: []string{"/bin/sh"}, Dir: "/no/such"}, func(context.Context, string, []byte) {})
			if err != nil {
				t.Fatal(err)
			}
			if <-p.ended; p.err == nil || !strings.Contains(p.err.Error(), "no such file") {
				t.Errorf("%s: got %v", step.name, p.err)
			}
			continue
		}
		p, end := script(t, a, step.script, large...)
		pid := strings.TrimSpace(end())
		if p.err != nil || step.want != "" && strconv.Itoa(p.ending.exitCode()) != step.want {
			t.Errorf("%s: got %v, %+v", step.name, p.err, p.ending)
		}
		if keeper == "" {
			keeper = pid
		}
		if pid != keeper {
			t.Errorf("%s: keeper %s instead of %s", step.name, pid, keeper)
		}
		// An order that comes too late is for nobody.
		p.kill()
		p.keeper.kill(p)
	}
}

// A step is the same user as its keeper, so it can do all this to it. The next step must not feel it.
func TestHarmedKeeperIsReplaced(t *testing.T) {
	t.Parallel()
	harms := map[string]func(keeper int) error{
		"signal": func(keeper int) error { return unix.Kill(keeper, unix.SIGTERM) },
		"limit": func(keeper int) error {
			return unix.Prlimit(keeper, unix.RLIMIT_STACK, &unix.Rlimit{Cur: 4 << 20, Max: 4 << 20}, nil)
		},
		"priority": func(keeper int) error { return unix.Setpriority(unix.PRIO_PROCESS, keeper, 7) },
		"thread": func(keeper int) error {
			entries, err := os.ReadDir("/proc/" + strconv.Itoa(keeper) + "/task")
			if err != nil {
				return err
			}
			last, err := strconv.Atoi(entries[len(entries)-1].Name())
			if err != nil {
				return err
			}
			return unix.Setpriority(unix.PRIO_PROCESS, last, 7)
		},
		"kill": func(keeper int) error { return unix.Kill(keeper, unix.SIGKILL) },
	}
	const state = "; ulimit -s; cut -d' ' -f19 /proc/$$/stat"
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := keepingAgent(t)
			_, end := script(t, a, "echo $PPID"+state)
			before, rest, _ := strings.Cut(end(), "\n")
			p, end := script(t, a, "sleep 1000")
			if err := harm(p.keeper.(*attendant).cmd.Process.Pid); err != nil {
				t.Fatal(err)
			}
			p.order(order{Kill: true})
			end()
			after := before
			for i := 0; after == before && i < 2; i++ { // a signal that crosses the step's end is noticed during the next
				_, end = script(t, a, "echo $PPID"+state)
				var now string
				if after, now, _ = strings.Cut(end(), "\n"); now != rest {
					t.Errorf("the next step has %q instead of %q", now, rest)
				}
			}
			if after == before {
				t.Errorf("keeper %s serves on", before)
			}
		})
	}
}

// Whatever the same user runs elsewhere can stop a keeper that waits.
func TestStoppedKeeperGoesOn(t *testing.T) {
	t.Parallel()
	a := keepingAgent(t)
	_, end := script(t, a, "echo $PPID")
	keeper := end()
	pid, err := strconv.Atoi(strings.TrimSpace(keeper))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, end = script(t, a, "echo $PPID")
	if got := end(); got != keeper {
		t.Errorf("got %q, want %q", got, keeper)
	}
}

// One keeper may be on its way while a step finds none that waits, and then starts its own.
func TestKeepersAreFew(t *testing.T) {
	t.Parallel()
	a := keepingAgent(t)
	a.cfg.Capacity = 3
	for range 3 {
		var ends []func() string
		for range 3 {
			_, end := script(t, a, "sleep 0.05")
			ends = append(ends, end)
		}
		for _, end := range ends {
			end()
		}
	}
	a.spare.filling.Wait()
	if n := len(a.spare.waiting); n > 4 || a.spare.busy != 0 {
		t.Errorf("%d keepers wait for 3 tasks, %d are busy", n, a.spare.busy)
	}
}
