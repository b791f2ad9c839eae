package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopPatience is how long a process may take to end by itself.
const stopPatience = 15 * time.Second

// process is one otto at work. What it has to say is in a file of the scratch directory.
type process struct {
	name  string
	cmd   *exec.Cmd
	talk  string // path of the file
	greet chan string
	done  chan struct{}
	once  sync.Once
}

// launch starts otto with args. If it dies, or we do, so does the other's hope: its death shows in done, ours kills it.
func launch(otto, dir, name string, env []string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(otto, args...), talk: filepath.Join(dir, name+".log"), greet: make(chan string, 1), done: make(chan struct{})}
	talk, err := os.Create(p.talk)
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, talk.Close())
	}
	p.cmd.Env, p.cmd.Stderr, p.cmd.SysProcAttr = env, talk, attributes()
	started := make(chan error)
	go func() {
		// The kernel sends a child its death signal when the thread that started it ends.
		runtime.LockOSThread()
		defer talk.Close()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			select {
			case p.greet <- lines.Text():
			default:
			}
		}
		_ = p.cmd.Wait() // how it ended is in its talk
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start otto %s: %w", args[0], err)
	}
	return p, nil
}

// greeting is the first line that the process prints.
func (p *process) greeting(ctx context.Context) (string, error) {
	select {
	case line := <-p.greet:
		return line, nil
	case <-p.done:
		return "", p.death()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// death says what a process that should be alive said last.
func (p *process) death() error {
	talk, err := os.ReadFile(p.talk)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(talk)), "\n")
	return fmt.Errorf("%s ended: %s", p.name, strings.Join(lines[max(0, len(lines)-5):], "; "))
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process and waits until it is gone. It may be called twice.
func (p *process) stop() {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-p.done:
		case <-time.After(stopPatience):
			_ = p.cmd.Process.Kill()
		}
	})
	<-p.done
}
