package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/ottoci/otto/client"
)

// session is a command that shows a run, and what signals do to it: the first aborts the run, the second kills it, the
// third ends the command without waiting any longer.
type session struct {
	app     *app
	signals chan os.Signal
	cancel  context.CancelCauseFunc

	mu    sync.Mutex
	count int
	first time.Time // when the first came
	conn  *connection
	run   int64 // 0 before the run exists and after it is over
}

var (
	errKilled     = errors.New("killed")
	errServerGone = errors.New("the command that was the server of this run was killed: the next otto run here aborts it")
	// errUnwatched leaves a run to its server.
	errUnwatched = errors.New("nobody watches the run")
)

// killPatience is how long a killed run may take to end: its agent must hear of it, and kill.
const killPatience = 20 * time.Second

// sameGesture is how close together two Ctrl-C are one: a terminal and whatever passes its signals on both send it.
const sameGesture = 300 * time.Millisecond

// obey follows signals until ctx ends.
func (s *session) obey(ctx context.Context) {
	var patience <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-patience:
			s.cancel(errKilled)
		case got := <-s.signals:
			s.mu.Lock()
			if s.count == 1 && got == syscall.SIGINT && time.Since(s.first) < sameGesture {
				s.mu.Unlock()
				continue
			}
			if s.count++; s.count == 1 {
				s.first = time.Now()
			}
			c, run, count := s.conn, s.run, s.count
			s.mu.Unlock()
			switch {
			case run == 0 || count > 2:
				s.cancel(errInterrupted)
			case count == 2:
				patience = time.After(killPatience)
				s.app.say("killing run %d", run)
				s.abort(ctx, c, run, "killed by "+person(got))
			case got == syscall.SIGPIPE:
				s.app.say("otto: the output was closed: aborting run %d", run)
				s.abort(ctx, c, run, "aborted by "+person(got))
			default:
				s.app.say("aborting run %d … press Ctrl-C again to kill it", run)
				s.abort(ctx, c, run, "aborted by "+person(got))
			}
		}
	}
}

// output is where the run is shown. When nobody reads it any more, that ends the run like a signal. SIGPIPE itself says
// too little: it comes for every connection that breaks.
func (s *session) output() io.Writer { return &pipe{Writer: s.app.stdout, broken: s.signals} }

type pipe struct {
	io.Writer
	broken chan<- os.Signal
	once   sync.Once
}

func (p *pipe) Write(b []byte) (int, error) {
	n, err := p.Writer.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		p.once.Do(func() { p.broken <- syscall.SIGPIPE })
	}
	return n, err
}

// person says who sent a signal.
func person(got os.Signal) string {
	switch got {
	case syscall.SIGINT:
		return "Ctrl-C"
	case syscall.SIGPIPE:
		return "the end of its output"
	case syscall.SIGHUP:
		return "the end of its terminal"
	}
	return "a signal"
}

func (s *session) abort(ctx context.Context, c *connection, run int64, reason string) {
	asking, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := c.RunAbort(asking, client.RunNumber(run), client.RunAbort{Reason: reason})
	over := client.IsStatus(err, 409) || ctx.Err() != nil // the session's own end says why
	if err != nil && !over {
		s.app.say("otto: cannot abort run %d: %v", run, err)
	}
}

// started says which run signals abort. One that came while the run was being created does so now.
func (s *session) started(c *connection, run int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.run = c, run
}

// over says that no run is left to abort.
func (s *session) over() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run = 0
}

// verdict turns an interruption into the exit status of an aborted run.
func (s *session) verdict(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errInterrupted), errors.Is(cause, errKilled):
		s.app.say("otto: %v", cause)
		return exit(codeAborted)
	case cause != nil:
		return cause
	}
	return err
}

// mindServer ends the session when its server has ended and will not come back: a part of our own has failed, or the
// command that was the server is gone.
func (s *session) mindServer(ctx context.Context, c *connection) {
	var failed <-chan error
	if c.local != nil {
		failed = c.local.plane.failed
	}
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-failed:
			s.cancel(err)
		case <-every.C:
			if c.used != nil && c.used.Private && syscall.Kill(c.used.PID, 0) == syscall.ESRCH {
				s.cancel(errServerGone)
			}
		}
	}
}

// leave lets the server go. Runs that nobody will execute are aborted: there is one if we were interrupted while we made
// it, or killed it and did not wait for its end.
func (s *session) leave(c *connection) {
	if c.local != nil && c.local.file != nil {
		if err := s.giveUp(c); err != nil && !c.local.plane.broken.Load() {
			s.app.say("otto: %v", err)
		}
	}
	c.close()
}

// waitForOthers keeps a private server up while other commands use it, or their runs are not over.
func (s *session) waitForOthers(ctx context.Context, c *connection) error {
	if c.local == nil || c.local.file == nil {
		return nil
	}
	for told := false; ; {
		busy, err := c.local.busy(ctx)
		if err != nil || busy == "" {
			return err
		}
		if !told {
			s.app.say("this command is the server of %s: waiting for that to end (Ctrl-C stops it)", busy)
			told = true
		}
		select {
		case <-ctx.Done():
			return nil // leave aborts them
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// giveUp ends the runs whose server is about to end.
func (s *session) giveUp(c *connection) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	aborted, err := c.local.abortSession(ctx, "the command that was its server has ended")
	if len(aborted) > 0 {
		s.app.say("aborted %s", runNumbers(aborted))
	}
	return err
}

// busy says who still needs a private server. If nobody does, nobody can begin to use it any more.
func (l *localServer) busy(ctx context.Context) (string, error) {
	if !l.file.closeToUsers() {
		return "another command", nil
	}
	live, err := l.q.RunsLive(ctx)
	if err != nil || len(live) == 0 {
		return "", err
	}
	l.file.reopen()
	return runNumbers(live), nil
}

// runNumbers names runs: "run 3", "runs 3, 4".
func runNumbers(runs []int64) string {
	text := "run"
	if len(runs) > 1 {
		text = "runs"
	}
	for i, run := range runs {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(" %d", run)
	}
	return text
}
