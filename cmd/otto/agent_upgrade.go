package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/ottoci/otto/agent"
)

// upgrader lets an agent become the program that its file holds now: it takes no more work, lets its tasks end, and starts that
// program in its place, as the same process and with the same credential. No lease is ever without a holder.
type upgrader struct {
	*app
	worker *agent.Agent
	path   string        // of the program
	every  time.Duration // how often the file is looked at; 0: only a signal counts

	mu    sync.Mutex
	asked bool
}

const (
	// upgradeLook is how often the program's file is looked at. A file counts as new once it has stayed the same for one look.
	upgradeLook = 10 * time.Second
	// upgradeTrial is how long the new program may take to say its version.
	upgradeTrial = 30 * time.Second
)

// watch upgrades at each SIGUSR2, and when the file has changed if that is asked for, until ctx ends.
func (u *upgrader) watch(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR2)
	defer signal.Stop(signals)
	var look <-chan time.Time
	if u.every > 0 {
		ticker := time.NewTicker(u.every)
		defer ticker.Stop()
		look = ticker.C
	}
	running := stamp(u.path)
	last := running
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			u.begin(ctx)
		case <-look:
			now := stamp(u.path)
			if now != running && now == last && now != (fileStamp{}) {
				running = now // one that is refused is not tried again
				u.begin(ctx)
			}
			last = now
		}
	}
}

// begin retires the agent, once the new program has shown that it runs: an agent that cannot come back must not go.
func (u *upgrader) begin(ctx context.Context) {
	said, err := u.trial(ctx)
	if err != nil {
		u.log.ErrorContext(ctx, "agent not upgraded", "path", u.path, "error", err)
		return
	}
	u.log.InfoContext(ctx, "agent upgrades once its tasks have ended", "path", u.path, "to", said)
	u.mu.Lock()
	u.asked = true
	u.mu.Unlock()
	u.worker.Retire()
}

// trial asks the new program for its version.
func (u *upgrader) trial(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, upgradeTrial)
	defer cancel()
	cmd := exec.CommandContext(ctx, u.path, "version")
	cmd.Env = []string{}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s version: %w: %.200s", u.path, err, out)
	}
	return string(out[:min(len(out), 200)]), nil
}

// due says whether the agent has ended for the new program to take its place.
func (u *upgrader) due() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked
}

// lookEvery is how often the agent looks at its program's file.
func (f agentFlags) lookEvery() time.Duration {
	if f.autoUpgrade {
		return upgradeLook
	}
	return 0
}

// become replaces this process. It comes back only if that was not possible. A signal that asks for an upgrade meanwhile would end the
// new program before it listens; what is ignored stays so until it does.
func (u *upgrader) become() error {
	signal.Ignore(syscall.SIGUSR2)
	err := syscall.Exec(u.path, os.Args, u.env.all) //nolint:gosec // this very command line
	return errors.Join(fmt.Errorf("become %s: %w", u.path, err), syscall.Exec(selfPath, os.Args, u.env.all))
}

// fileStamp tells a file from the one that replaces it.
type fileStamp struct {
	inode    uint64
	size     int64
	modified int64
}

func stamp(path string) fileStamp {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}
	}
	s := fileStamp{size: info.Size(), modified: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s
}
