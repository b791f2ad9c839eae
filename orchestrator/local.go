package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/ottoci/otto/client"
)

// Local starts agents as processes of this machine. They die with the orchestrator, however it dies: the kernel sees to that, and
// their keepers end what they were running.
type Local struct {
	URL     string   // of the server
	Program string   // the otto binary
	Dir     string   // each agent has a directory of its own below it
	Args    []string // of otto agent, beyond those that Local gives
	Env     []string // of the agents, to which the token is added
	Stderr  *os.File
	Log     *slog.Logger
}

// localAgent is one of its processes.
type localAgent struct {
	name, award string
	process     *os.Process
	done        chan struct{}
	killing     sync.Once
}

// killAfter is how long an agent that is to end at once may take to hand its work back, before it is killed.
const killAfter = 10 * time.Second

// Start starts an agent process.
func (l *Local) Start(_ context.Context, o Order) (Instance, error) {
	dir := filepath.Join(l.Dir, o.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	a := &localAgent{name: o.Name, award: o.Award, done: make(chan struct{})}
	started := make(chan error)
	go l.mind(a, dir, o.Token, started)
	return a, <-started
}

// mind starts the process and waits for its end, on one thread: the kernel sends a child its death signal when the thread that started
// it ends, and Go ends threads as it likes unless they are locked.
func (l *Local) mind(a *localAgent, dir, token string, started chan<- error) {
	runtime.LockOSThread()
	defer close(a.done)
	cmd := exec.CommandContext(context.Background(), l.Program) // Drain and Kill end it, in their own ways
	cmd.Args = append([]string{"otto", "agent", "--url", l.URL, "--dir", dir, "--name", a.name}, l.Args...)
	cmd.Env = append(append([]string{}, l.Env...), "OTTO_ENROL_TOKEN="+token)
	cmd.Stderr = l.Stderr
	cmd.SysProcAttr = dieWithParent()
	err := cmd.Start()
	a.process = cmd.Process
	started <- err
	if err == nil {
		if err := cmd.Wait(); err != nil {
			l.Log.Info("agent ended otherwise than well", "name", a.name, "error", err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		l.Log.Warn("agent's directory was not removed", "dir", dir, "error", err)
	}
}

func (a *localAgent) Name() string          { return a.name }
func (a *localAgent) Award() string         { return a.award }
func (a *localAgent) Done() <-chan struct{} { return a.done }

// Drain asks the agent to end once.
func (a *localAgent) Drain() { _ = a.process.Signal(syscall.SIGTERM) }

// Kill asks twice, which makes it hand its work back, and then does not ask any more.
func (a *localAgent) Kill() {
	a.killing.Do(func() {
		a.Drain()
		a.Drain()
		go func() {
			select {
			case <-a.done:
			case <-time.After(killAfter):
				_ = a.process.Kill()
			}
		}()
	})
}

// Recover says goodbye for the agents of an earlier life, which died with it, so that their tasks go on elsewhere at once.
func (l *Local) Recover(ctx context.Context) ([]Instance, error) {
	entries, err := os.ReadDir(l.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		dir := filepath.Join(l.Dir, e.Name())
		if err := l.farewell(ctx, dir); err != nil {
			l.Log.WarnContext(ctx, "an agent of an earlier life could not say goodbye: its work goes on elsewhere a little later", "agent", e.Name(), "error", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// farewell says goodbye with the credential that an agent has left.
func (l *Local) farewell(ctx context.Context, dir string) error {
	body, err := os.ReadFile(filepath.Join(dir, "credential.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it had not enrolled
	}
	if err != nil {
		return err
	}
	var stored struct{ Token string }
	if err := json.Unmarshal(body, &stored); err != nil {
		return fmt.Errorf("read its credential: %w", err)
	}
	c, err := client.New(client.Config{URL: l.URL, Token: stored.Token})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	return c.AgentBye(ctx)
}
