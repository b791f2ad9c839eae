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
