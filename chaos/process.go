package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	restartPause = 200 * time.Millisecond // as a supervisor makes, so that a process that cannot start does not spin
	stopPatience = 15 * time.Second       // how long a process may take to end by itself
)

// member is one otto process of the fleet, started again whenever it ends, as a supervisor would.
type member struct {
	name string
	otto string
	args []string
	env  []string
	talk *os.File // all that its processes say

	mu      sync.Mutex
	current *exec.Cmd
	starts  int
	refused bool // an agent ended because its credential was refused

	stop chan struct{}
	done chan struct{}
}

// codeCredential is how an agent ends whose credential is refused.
const codeCredential = 77

func newMember(f *fleet, name string, env []string, args ...string) (*member, error) {
	talk, err := os.OpenFile(filepath.Join(f.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	m := &member{name: name, otto: f.otto, args: args, env: env, talk: talk, stop: make(chan struct{}), done: make(chan struct{})}
	go m.keep()
	return m, nil
}

// keep starts the process again and again, on one thread: the kernel sends a child its death signal when the thread that
// started it ends, and nothing of the fleet may outlive us.
func (m *member) keep() {
	runtime.LockOSThread()
	defer close(m.done)
	defer m.talk.Close()
	for {
		m.once()
		select {
		case <-m.stop:
			return
		case <-time.After(restartPause):
		}
	}
}

// once runs the process to its end.
func (m *member) once() {
	cmd := exec.Command(m.otto, m.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = m.env, m.talk, m.talk, attributes()
	m.mu.Lock()
	err := cmd.Start()
	if err == nil {
		m.current = cmd
		m.starts++
	}
	m.mu.Unlock()
	if err != nil {
		fmt.Fprintf(m.talk, "chaos: start %s: %v\n", m.name, err)
		return
	}
	err = cmd.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current = nil
	var status *exec.ExitError
	m.refused = m.refused || errors.As(err, &status) && status.ExitCode() == codeCredential
}

// signal sends a signal, if the process lives just now.
func (m *member) signal(s syscall.Signal) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current != nil && m.current.Process.Signal(s) == nil
}

// count says how often the process was started.
func (m *member) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.starts
}

// end lets the process end for good, and kills it if it does not.
func (m *member) end(ctx context.Context) error {
	close(m.stop)
	m.signal(syscall.SIGCONT)
	m.signal(syscall.SIGTERM)
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	select {
	case <-m.done:
		return nil
	case <-patience.Done():
	}
	m.signal(syscall.SIGKILL)
	<-m.done
	return fmt.Errorf("%s did not end within %s", m.name, stopPatience)
}
