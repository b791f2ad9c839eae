package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// agentSettings say how the agent of a local server works.
type agentSettings struct {
	capacity int
	drain    time.Duration // how long running tasks may take to end at Stop
}

// agentProcess keeps one agent running, in a process of its own: what runs user code cannot reach the database.
type agentProcess struct {
	dir    string
	args   []string
	env    []string
	enrol  func(context.Context) (string, error) // gives a token for one enrolment
	drain  time.Duration
	stderr *os.File
	log    *slog.Logger
	say    func(format string, args ...any)
	seen   func() time.Time // when the server last heard of it, beyond its enrolment; zero if never
	fail   func(error)      // told once, when there is no hope for it

	stop    chan struct{} // closed when Stop begins
	hurry   chan struct{} // closed when the agent may no longer drain
	abandon chan struct{} // closed when it is killed at once
	once    sync.Once
	hurried sync.Once

	abandoned sync.Once
	minding   sync.WaitGroup
}

const (
	agentBackoffFirst = time.Second
	agentBackoffLimit = 30 * time.Second
	agentKillAfter    = 20 * time.Second // for the last reports, once it hands back its work
	// agentHopeless is how often in a row it may end without ever having come online: runs would wait for it for ever.
	// With the pauses between, that is 15 s.
	agentHopeless = 5
)

// agentTokenName is the name of the token that a local agent enrols with. The directory is not in it: the database takes
// names of 100 characters, and paths are longer.
const agentTokenName = "agent of this machine"

// startAgent starts the agent of a local server. It has its credential from an earlier start, or gets one.
func (l *localServer) startAgent(ctx context.Context, s agentSettings) (*agentProcess, error) {
	passed, err := l.app.passEnv()
	if err != nil {
		return nil, err
	}
	p := &agentProcess{
		dir: l.agentDir(), drain: s.drain, stderr: os.Stderr, log: l.app.log, say: l.app.say, stop: make(chan struct{}), hurry: make(chan struct{}), abandon: make(chan struct{}),
		args: []string{"otto", "agent", "--url", l.plane.url, "--dir", l.agentDir(), "--capacity", fmt.Sprint(s.capacity),
			"--drain-timeout", s.drain.String(), "--log-level", l.app.flags.logLevel, "--log-format", l.app.flags.logFormat},
		// The agent's environment holds nothing of ours but its own token: it is the process that runs user code.
		env: slices.DeleteFunc(slices.Clone(l.app.env.all), func(v string) bool { return strings.HasPrefix(v, "OTTO_") }),
		enrol: func(ctx context.Context) (string, error) {
			return createToken(ctx, l.q, "enrol", "enrol", agentTokenName)
		},
		fail: l.plane.lose,
	}
	p.args = append(p.args, localGit(l.app.env.home)...)
	if l.app.env.isolation != "" {
		p.args = append(p.args, "--isolation", l.app.env.isolation)
	}
	for _, name := range passed {
		p.args = append(p.args, "--pass-env", name)
	}
	p.seen = func() time.Time { return l.agentSeen(storedAgent(p.dir)) }
	if known := storedAgent(p.dir); known != 0 {
		if _, err := l.q.AgentByID(context.Background(), known); err != nil {
			p.forget() // the database was made anew
		}
	}
	p.minding.Go(p.mind)
	return p, nil
}

// agentSeen is when the server heard of an agent that has said hello; zero if it never has.
func (l *localServer) agentSeen(agent int64) time.Time {
	if agent == 0 {
		return time.Time{}
	}
	row, err := l.q.AgentByID(context.Background(), agent)
	if err != nil || !row.Agent.SeenAt.After(row.Agent.EnrolledAt) {
		return time.Time{}
	}
	return row.Agent.SeenAt
}

// mind runs the agent again and again until Stop, on one thread: the kernel sends a child its death signal when the
// thread that started it ends, and Go ends threads as it likes unless they are locked.
func (p *agentProcess) mind() {
	runtime.LockOSThread()
	pause := agentBackoffFirst
	before := p.seen()
	for failures := 1; !p.stopping(); failures++ {
		began := time.Now()
		err := p.run()
		if p.stopping() {
			return
		}
		if time.Since(began) > agentBackoffLimit {
			pause = agentBackoffFirst
		}
		if p.seen().After(before) {
			failures = math.MinInt // it can work: its end is an accident
		}
		if failures >= agentHopeless {
			p.fail(fmt.Errorf("the agent ended by itself %d times and was never online: %w", failures, err))
			return
		}
		p.say("otto: the agent ended by itself (%v), starting it again in %s", err, pause)
		select {
		case <-p.stop:
		case <-time.After(pause):
		}
		pause = min(2*pause, agentBackoffLimit)
	}
}

// run starts the agent and waits for its end.
func (p *agentProcess) run() error {
	// Not bound to a context: terminate ends it, in its own way.
	cmd := exec.CommandContext(context.Background(), selfPath)
	cmd.Args, cmd.Env, cmd.Stderr = p.args, p.env, p.stderr
	cmd.SysProcAttr = agentAttributes()
	if storedAgent(p.dir) == 0 {
		token, err := p.enrol(context.Background())
		if err != nil {
			return err
		}
		cmd.Env = append(slices.Clone(p.env), "OTTO_ENROL_TOKEN="+token)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	var stopping sync.WaitGroup
	stopping.Go(func() { p.terminate(cmd.Process, ended) })
	err := cmd.Wait()
	close(ended)
	stopping.Wait()
	var status *exec.ExitError
	if errors.As(err, &status) && status.ExitCode() == codeCredential {
		p.forget()
	}
	return err
}

// terminate ends the agent once Stop begins: it may drain, then it hands its work back, then it is killed.
func (p *agentProcess) terminate(process *os.Process, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-p.stop:
	}
	_ = process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
		return
	case <-p.hurry:
	case <-p.abandon:
	case <-time.After(p.drain):
	}
	_ = process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
		return
	case <-p.abandon:
		_ = process.Kill()
	case <-time.After(agentKillAfter):
		_ = process.Kill()
	}
}

func (p *agentProcess) stopping() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// Abandon makes Stop kill the agent: there is nobody to hear its last reports.
func (p *agentProcess) Abandon() { p.abandoned.Do(func() { close(p.abandon) }) }

// Hurry makes Stop wait for no task.
func (p *agentProcess) Hurry() { p.hurried.Do(func() { close(p.hurry) }) }

// Stop ends the agent and blocks until it is gone. It may be called twice.
func (p *agentProcess) Stop() {
	p.once.Do(func() { close(p.stop) })
	p.minding.Wait()
}

// agentState is where an agent's credential is kept.
func agentState(dir string) string { return filepath.Join(dir, "credential.json") }

// storedAgent is the number of the agent whose credential a directory keeps; 0 if it keeps none.
func storedAgent(dir string) int64 {
	var state struct {
		Agent int64 `json:"agent"`
	}
	body, err := os.ReadFile(agentState(dir))
	if err != nil || json.Unmarshal(body, &state) != nil {
		return 0
	}
	return state.Agent
}

// forget drops the credential, so that the next start gets a new one.
func (p *agentProcess) forget() {
	if err := os.Remove(agentState(p.dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.log.Warn("agent's credential not removed", "error", err)
	}
}
