package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ottoci/otto/agent/engine"
	"github.com/ottoci/otto/agent/isolation"
	"github.com/ottoci/otto/client"
)

// containerRoom is a container of the task's own, in which all its steps run.
type containerRoom struct {
	task *task
	box  *engine.Box
	home string // HOME of the steps; the image's if empty
}

// leftName is the file in the task's directory for the list of processes that a step in a container leaves running.
const leftName = "left"

// openContainer makes the container. The engine is asked to end it with the agent in two ways, see package engine.
func (t *task) openContainer(ctx context.Context) (room, error) {
	spec := t.lease.Spec
	asked := engine.Task{
		Lease: t.lease.ID, Limits: t.asked(), Closed: isolation.Level(spec.Isolation) >= isolation.S3, Image: spec.Image, Services: spec.Services, Dir: t.path(""),
		Say: func(format string, args ...any) { t.journal.say(-1, format, args...) },
	}
	if spec.Container != nil {
		asked.Spec = *spec.Container
	}
	if err := t.agent.guard(); err != nil {
		return nil, err
	}
	r := &containerRoom{task: t}
	if asked.Spec.User == "" && os.Geteuid() != 0 {
		r.home = t.path("home") // the image knows nothing of the agent's user, and root's home is not open to it
		if err := os.Mkdir(r.home, 0o700); err != nil {
			return nil, fmt.Errorf("make a home for the steps: %w", err)
		}
	}
	if asked.Spec.User != "" {
		if err := t.open(); err != nil {
			return nil, fmt.Errorf("open the workspace to user %s: %w", asked.Spec.User, err)
		}
		asked.Give = []string{t.path("workspace"), t.path("tmp")}
	}
	var err error
	if r.box, err = t.agent.containers.engine.Enter(ctx, asked); err != nil {
		return nil, err
	}
	return r, nil
}

// open lets any user who gets as far pass through the task's directory and write its outputs. Nobody on the host does: the
// work directory is the agent's alone. In the container the image's user does.
func (t *task) open() error {
	err := os.Chmod(t.path(""), 0o711) //nolint:gosec // see above
	if len(t.lease.Spec.Outputs) > 0 {
		err = errors.Join(err, os.Chmod(t.path(outputName), 0o666)) //nolint:gosec // see above
	}
	return err
}

// environ has of the host its proxies only; the rest is the image's.
func (r *containerRoom) environ() map[string]string {
	out := map[string]string{}
	cfg := &r.task.agent.cfg
	for _, entry := range cfg.Environ {
		name, value, _ := strings.Cut(entry, "=")
		proxy := slices.Contains(hostNames, name) && strings.HasSuffix(strings.ToUpper(name), "_PROXY")
		if value != "" && (proxy || slices.Contains(cfg.PassEnv, name)) {
			out[name] = value
		}
	}
	if r.home != "" {
		out["HOME"] = r.home
	}
	return out
}

// command looks for nothing: the shell finds a program where the image has it.
func (r *containerRoom) command(asked, _ []string) ([]string, error) {
	if len(asked) == 0 {
		return slices.Clip(shell), nil
	}
	return slices.Clone(asked), nil
}

func (r *containerRoom) launch(ctx context.Context, job job, to sink) (*process, error) {
	if err := os.Chmod(r.task.path("script"), 0o644); err != nil { //nolint:gosec // see open
		return nil, fmt.Errorf("let the step read its script: %w", err)
	}
	left := r.task.path(leftName)
	if err := os.RemoveAll(left); err != nil {
		return nil, fmt.Errorf("prepare the step: %w", err)
	}
	flow, release := context.WithCancel(ctx)
	x, err := r.box.Launch(ctx, engine.Command{Argv: job.Argv, Dir: job.Dir, Env: job.Env, Left: left})
	if err != nil {
		release()
		return nil, fmt.Errorf("start the step in its container: %w", err)
	}
	// What follows a step outlives the order to end it: the engine tells how it ended. Only an engine that does not is given up.
	ctx, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	w := &watcher{box: r.box, giveUp: giveUp, done: make(chan struct{})}
	p := &process{keeper: w, ended: make(chan struct{})}
	p.release = release
	go func() {
		defer close(p.ended)
		defer giveUp(nil)
		p.ending.Code, p.err = x.Wait(ctx, stream{flow, client.SegmentStdout, to}, stream{flow, client.SegmentStderr, to})
		release()
		if p.ending.Ordered = w.finish(); p.ending.Ordered {
			return
		}
		p.ending.Left = readLeft(left)
		if p.ending.Code == killedCode && x.Starved(ctx) {
			p.ending.Limit = limitMemory
		}
	}()
	return p, nil
}

const (
	// killedCode is how a shell tells that SIGKILL has ended a program.
	killedCode = 128 + 9
	// limitMemory is the reason of a step that was killed because memory ran out.
	limitMemory = "oom"
)

// close also ends a container whose engine hangs for a while; then it is left to the warden, and to the next life of the agent.
func (r *containerRoom) close(ctx context.Context) error { return r.box.Close(ctx) }

// stream passes on one of a step's outputs.
type stream struct {
	flow context.Context
	kind string
	to   sink
}

func (s stream) Write(p []byte) (int, error) {
	s.to(s.flow, s.kind, p)
	return len(p), nil
}

// watcher ends a step in a container early.
type watcher struct {
	box    *engine.Box
	giveUp context.CancelCauseFunc
	done   chan struct{} // closed when the step has ended

	mu      sync.Mutex
	ordered bool
	orders  sync.WaitGroup
}

const (
	// signalLimit is how long the engine may take to pass on a signal, before the container is killed as a whole.
	signalLimit = 5 * time.Second
	// killLimit is how long it may take to tell the end of a container that was killed.
	killLimit = 15 * time.Second
)

var errEngineSilent = errors.New("the container engine does not end the step")

// finish notes the step's end, waits for what orders have begun, and says whether there was one.
func (w *watcher) finish() bool {
	w.mu.Lock()
	close(w.done)
	w.mu.Unlock()
	w.orders.Wait()
	return w.ordered
}

// begin does something about a step that has not ended.
func (w *watcher) begin(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.done:
	default:
		w.ordered = true
		w.orders.Go(do)
	}
}

// order asks or makes all processes in the container end. The container stays, for steps that run even then.
func (w *watcher) order(_ *process, o order) {
	w.begin(func() {
		if !o.Kill {
			w.signal("TERM")
			grace := time.NewTimer(milliseconds(o.StopMS))
			defer grace.Stop()
			select {
			case <-w.done:
				return
			case <-grace.C:
			}
		}
		w.signal("KILL")
	})
}

// signal signals all processes in the container; where that does not work it kills the container.
func (w *watcher) signal(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), signalLimit)
	defer cancel()
	if err := w.box.Signal(ctx, name); err != nil {
		w.end()
	}
}

// kill kills the container.
func (w *watcher) kill(*process) { w.begin(w.end) }

func (w *watcher) end() {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	err := w.box.Kill(ctx)
	select {
	case <-w.done:
	case <-ctx.Done():
		w.giveUp(errors.Join(errEngineSilent, err))
	}
}

// readLeft reads the list of processes that a step has left running. The file is the step's own: nothing but a small regular
// file is read.
func readLeft(path string) (left []string) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(file, 4<<10))
	for line := range strings.Lines(strings.ToValidUTF8(string(body), "?")) {
		left = append(left, strings.TrimSpace(line))
	}
	return left
}
