package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// background are the commands that a script has started and that run beside it.
type background struct {
	commands map[string]*command
	noted    map[string][]int // process ids by name, see note
}

type command struct {
	*exec.Cmd
	ended chan struct{}
	err   error
}

type backgroundKey struct{}

func of(ts *testscript.TestScript) *background {
	return ts.Value(backgroundKey{}).(*background)
}

// patience is how long a script waits for anything.
const patience = 60 * time.Second

// eventually polls a condition.
func eventually(ts *testscript.TestScript, what string, holds func() bool) {
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			ts.Fatalf("waited %s in vain for %s", patience, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// start runs a command beside the script, its output in NAME.out: start NAME COMMAND…
func start(ts *testscript.TestScript, _ bool, args []string) {
	b := of(ts)
	out, err := os.Create(ts.MkAbs(args[0] + ".out"))
	ts.Check(err)
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	c := &command{Cmd: exec.Command(path, args[2:]...), ended: make(chan struct{})}
	c.Dir, c.Stdout, c.Stderr = ts.MkAbs("."), out, out
	for _, name := range []string{"PATH", "HOME", "OTTO_DATA_DIR", "OTTO_DATABASE_URL", "OTTO_STORE_URL", "OTTO_URL", "OTTO_TOKEN", "OTTO_ENROL_TOKEN", "OTTO_ISOLATION", "TMPDIR"} {
		if value := ts.Getenv(name); value != "" {
			c.Env = append(c.Env, name+"="+value)
		}
	}
	ts.Check(c.Start())
	go func() {
		c.err = c.Wait()
		_ = out.Close()
		close(c.ended)
	}()
	if b.commands == nil {
		b.commands = map[string]*command{}
	}
	b.commands[args[0]] = c
}

// stop kills what a script that failed has left running; its children die with it.
func (b *background) stop() {
	for _, c := range b.commands {
		_ = c.Process.Kill()
		<-c.ended
	}
}

func (b *background) command(ts *testscript.TestScript, name string) *command {
	c := b.commands[name]
	if c == nil {
		ts.Fatalf("nothing was started as %q", name)
	}
	return c
}

// await waits until a file matches: await FILE REGEXP. The output of a command can only match while it runs.
func await(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[1])
	writer := of(ts).commands[strings.TrimSuffix(args[0], ".out")]
	eventually(ts, args[1]+" in "+args[0], func() bool {
		over := writer != nil && writer.over()
		body, _ := os.ReadFile(ts.MkAbs(args[0]))
		if !pattern.Match(body) && over {
			ts.Fatalf("no match for %s in %s, which is over:\n%s", args[1], args[0], body)
		}
		return pattern.Match(body)
	})
}

func (c *command) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// sendSignal sends a signal to what was started: signal NAME INT.
func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	signal := unix.SignalNum("SIG" + args[1])
	ts.Check(of(ts).command(ts, args[0]).Process.Signal(signal))
}

// ended waits for the end of what was started, with a status: ended NAME STATUS.
func ended(ts *testscript.TestScript, _ bool, args []string) {
	c := of(ts).command(ts, args[0])
	select {
	case <-c.ended:
	case <-time.After(patience):
		ts.Fatalf("%s does not end", args[0])
	}
	if code := exitCode(c.err); fmt.Sprint(code) != args[1] {
		body, _ := os.ReadFile(ts.MkAbs(args[0] + ".out"))
		ts.Fatalf("%s ended with status %d, want %s:\n%s", args[0], code, args[1], body)
	}
}

func exitCode(err error) int {
	var status *exec.ExitError
	if errors.As(err, &status) {
		return status.ExitCode()
	}
	return 0
}

// note remembers all processes below what was started, for gone.
func note(ts *testscript.TestScript, _ bool, args []string) {
	b := of(ts)
	if b.noted == nil {
		b.noted = map[string][]int{}
	}
	root := b.command(ts, args[0]).Process.Pid
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children(all[i])...)
	}
	b.noted[args[0]] = all
	if len(all) < 4 {
		ts.Fatalf("%s has only the processes %v", args[0], all)
	}
}

// gone waits until none of the noted processes is there any more.
func gone(ts *testscript.TestScript, _ bool, args []string) {
	var left []string
	eventually(ts, "the end of all processes", func() bool {
		left = nil
		for _, pid := range of(ts).noted[args[0]] {
			if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil && !strings.Contains(string(status), "State:\tZ") {
				left = append(left, strings.SplitN(string(status), "\n", 2)[0])
			}
		}
		return len(left) == 0
	})
}

func children(pid int) (out []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is well formed
	for _, file := range files {
		body, _ := os.ReadFile(file)
		for _, word := range strings.Fields(string(body)) {
			if child, err := strconv.Atoi(word); err == nil {
				out = append(out, child)
			}
		}
	}
	return out
}
