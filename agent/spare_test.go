package agent

import (
	"context"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A keeper that waits for its job may be killed, by anything. The next step gets another.
func TestSpareKilled(t *testing.T) {
	t.Parallel()
	a, err := New(Config{URL: "http://127.0.0.1:1", Token: "t", WorkDir: t.TempDir(), Shared: true,
		Keeper: []string{"/proc/self/exe", KeeperCommand}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.closeSpare()
	for range 3 {
		a.prepareKeeper()
		a.spare.filling.Wait()
		if n := len(a.spare.waiting); n != 1 || !a.spare.waiting[0].waits() {
			t.Fatalf("%d keepers wait", n)
		}
		waiting := a.spare.waiting[0]
		if err := waiting.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for limit := time.After(10 * time.Second); waiting.waits(); {
			select {
			case <-limit:
				t.Fatal("a dead keeper seems to wait")
			default:
			}
		}
		if got := echo(t, a); got != "hello\n" {
			t.Errorf("the step wrote %q", got)
		}
		if got := echo(t, a); got != "hello\n" {
			t.Errorf("the step after it wrote %q", got)
		}
	}
}

func TestSurplusKeepersEnd(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ages := []time.Duration{5 * spareIdle, 2 * spareIdle, spareIdle, spareIdle / 2, 0}
	tests := []struct {
		name       string
		ages       []time.Duration // of those that wait, the longest first
		idle, left int
		more       bool
	}{
		{"none", nil, 0, 0, false},
		{"one_always_waits", ages[:1], 0, 1, false},
		{"all_old", ages[:3], 2, 1, false},
		{"some_young", ages, 3, 2, true},
		{"all_young", ages[3:], 0, 2, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := spare{closing: make(chan struct{})}
			for _, age := range tt.ages {
				s.waiting = append(s.waiting, &attendant{since: now.Add(-age)})
			}
			idle, more := s.surplus(now)
			if len(idle) != tt.idle || len(s.waiting) != tt.left || more != tt.more {
				t.Errorf("%d end, %d wait, more %v", len(idle), len(s.waiting), more)
			}
			if goesOn := s.closing != nil; goesOn != more {
				t.Errorf("it goes on: %v", goesOn)
			}
		})
	}
}

// echo runs a step and gives its output.
func echo(t *testing.T, a *Agent) string {
	t.Helper()
	var mu sync.Mutex
	var out []byte
	p, err := a.start(t.Context(), job{Argv: []string{"/bin/echo", "hello"}, Dir: os.TempDir()}, func(_ context.Context, _ string, b []byte) {
		mu.Lock()
		defer mu.Unlock()
		out = append(out, b...)
	})
	if err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if p.err != nil {
		t.Error(p.err)
	}
	return string(out)
}
