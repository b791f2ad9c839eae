package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/ottoci/otto/agent/isolation"
	"github.com/ottoci/otto/client"
)

// prove finds out, by trying to escape, how far this machine can isolate tasks, and takes away what a dead agent has left.
func (a *Agent) prove(ctx context.Context) (err error) {
	if a.cfg.Shared && a.cfg.Isolation == isolation.S0 {
		return nil
	}
	relay := a.cfg.Relay
	if len(relay) == 0 {
		if relay, err = isolation.LookRelay(); err != nil {
			return err
		}
	}
	a.host, err = isolation.Open(isolation.Settings{
		WorkDir: a.dir.path, Name: groupName(a.dir.path), FirstUser: a.cfg.TaskUsers, Path: a.cfg.hostEnv()["PATH"],
		Relay: relay, Allow: a.cfg.EgressAllow, Hide: a.cfg.hidden(),
	})
	if err != nil {
		return err
	}
	swept, err := a.host.Sweep()
	if err != nil {
		return fmt.Errorf("sweep what a dead agent left: %w", err)
	}
	if len(swept) > 0 {
		a.log.WarnContext(ctx, "swept what a dead agent left", "cgroups", swept)
	}
	a.proven = a.host.Doctor(ctx)
	return a.choose(ctx)
}

// choose settles the level of tasks that ask for none.
func (a *Agent) choose(ctx context.Context) error {
	if a.cfg.Isolation == isolation.Auto {
		a.cfg.Isolation = isolation.S0
		if a.proven.Holds(isolation.S1) {
			a.cfg.Isolation = isolation.S1
		} else {
			a.note(ctx, fmt.Sprintf("steps can do whatever this user can (isolation S0), unless they ask for more: %s; see otto agent doctor",
				a.proven.Levels[isolation.S1].Missing))
		}
	}
	if _, ok := a.proven.Least(a.cfg.Isolation); !ok {
		missing := "no agent has it yet"
		if int(a.cfg.Isolation) < len(a.proven.Levels) {
			missing = a.proven.Levels[a.cfg.Isolation].Missing
		}
		return fmt.Errorf("isolation %v does not hold on this machine: %s (see otto agent doctor)", a.cfg.Isolation, missing)
	}
	a.log.InfoContext(ctx, "isolation proven", "default", a.cfg.Isolation, "best", a.proven.Best)
	return nil
}

func (a *Agent) note(ctx context.Context, text string) {
	if a.cfg.Note == nil {
		a.log.WarnContext(ctx, "the agent has something to say", "note", text)
		return
	}
	a.cfg.Note(text)
}

func (a *Agent) unprove() {
	if a.host != nil {
		a.host.Close()
	}
}

// groupName names the groups of an agent: each has a work directory of its own.
func groupName(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:8])
}

// hidden are the agent's files and directories in which tasks have no business, besides its work directory.
func (c *Config) hidden() []string {
	if c.StateFile == "" {
		return nil
	}
	return []string{c.StateFile}
}

// settle gives the task its cell, and what the steps need to find there.
func (t *task) settle(ctx context.Context) error {
	if t.contained(ctx) {
		return nil
	}
	level, err := t.level()
	if err != nil {
		return err
	}
	limits := t.limits()
	switch {
	case level == isolation.S0 && limits == (isolation.Limits{}):
		return nil // as fast as it gets
	case t.agent.host == nil:
		t.cell = isolation.Bare(t.path(""), limits)
		return nil
	}
	if t.cell, err = t.agent.host.Cell(level, t.path(""), limits); err != nil {
		return fmt.Errorf("cannot isolate the task: %w", err)
	}
	if level == isolation.S0 {
		return nil
	}
	if err := os.Mkdir(t.path("home"), 0o700); err != nil {
		return fmt.Errorf("cannot make the task's home: %w", err)
	}
	user := t.cell.User()
	if user == nil {
		return nil
	}
	own := []string{"tmp", "home"}
	if t.lease.Checkout == nil { // git works in no directory of somebody else: that one gets its owner afterwards
		own = append(own, "workspace")
	}
	return user.Furnish(t.path(""), own...)
}

// give gives the task a directory that the agent has filled for it.
func (t *task) give(part string) error {
	if t.cell == nil || t.cell.User() == nil {
		return nil
	}
	return t.cell.User().Give(t.path(part))
}

// unsettle ends the cell of a task whose work did not begin.
func (t *task) unsettle(ctx context.Context) {
	if t.cell == nil {
		return
	}
	if err := t.cell.Close(); err != nil {
		t.log.WarnContext(ctx, "cell not closed", "error", err)
	}
}

// own gives the task a file in its directory.
func (t *task) own(name string) error {
	if t.cell == nil || t.cell.User() == nil {
		return nil
	}
	return t.home.Lchown(name, t.cell.UID, t.cell.UID)
}

// isolation is what the steps will run with, to tell a server that wants to know; nil if nothing can be said.
func (t *task) isolation(ctx context.Context) *int {
	if !slices.Contains(t.agent.settings.Protocol, client.ProtocolIsolation) {
		return nil
	}
	if t.contained(ctx) {
		number := int(isolation.S4)
		return &number
	}
	level, err := t.level()
	if err != nil {
		return nil
	}
	number := int(level)
	return &number
}

// level is how far the task is isolated: as it asks, and at least as far as the agent isolates everything.
func (t *task) level() (isolation.Level, error) {
	asked := isolation.Level(t.lease.Spec.Isolation)
	if t.agent.host == nil {
		if asked > isolation.S0 {
			return 0, fmt.Errorf("this agent isolates nothing, and the task asks for %v", asked)
		}
		return isolation.S0, nil
	}
	level, ok := t.agent.proven.Least(max(asked, t.agent.cfg.Isolation))
	if !ok {
		return 0, fmt.Errorf("this agent has not proven the isolation %v that the task asks for", max(asked, t.agent.cfg.Isolation))
	}
	return level, nil
}

// as does something with the task's files as whoever they belong to.
func (t *task) as(do func() error) error {
	if t.cell == nil || t.cell.User() == nil {
		return do()
	}
	return t.cell.User().As(do)
}

// share lets the task read a file that the agent has written for it.
func (t *task) share(path string) error {
	if t.cell == nil || t.cell.User() == nil {
		return nil
	}
	return t.cell.User().Share(path)
}

// cellRoom is a cell: every step is started in it.
type cellRoom struct {
	agent *Agent
	cell  *isolation.Occupied
	dir   string // the task's, as the agent sees it
}

func (r cellRoom) environ() map[string]string {
	env := r.agent.cfg.hostEnv()
	maps.Copy(env, r.cell.Environment())
	return env
}

func (cellRoom) command(asked, env []string) ([]string, error) { return command(asked, env) }

func (r cellRoom) launch(ctx context.Context, job job, to sink) (*process, error) {
	job.Cell = &r.cell.Cell
	if r.cell.Level >= isolation.S1 {
		r.move(&job)
	}
	return r.agent.launch(ctx, job, to)
}

// move tells a job the paths as they are in the cell.
func (r cellRoom) move(job *job) {
	inside := func(text string) string {
		if rest, below := strings.CutPrefix(text, r.dir); below && (rest == "" || rest[0] == '/') {
			return isolation.Home + rest
		}
		return text
	}
	job.Dir = inside(job.Dir)
	argv := make([]string, len(job.Argv))
	for i, word := range job.Argv {
		argv[i] = inside(word)
	}
	env := make([]string, len(job.Env))
	for i, entry := range job.Env {
		name, value, _ := strings.Cut(entry, "=")
		env[i] = name + "=" + inside(value)
	}
	job.Argv, job.Env = argv, env
}

func (r cellRoom) close(context.Context) error {
	if err := r.cell.Close(); err != nil {
		return fmt.Errorf("cannot end the task's cell: %w", err)
	}
	return nil
}

// errBroke is the cause of a step's end by a limit that the agent watches.
type errBroke string

func (e errBroke) Error() string { return "the task is over its limit: " + string(e) }

// brokeLimit is the limit that ended something, if that was it.
func brokeLimit(cause error) string {
	var broke errBroke
	if errors.As(cause, &broke) {
		return string(broke)
	}
	return ""
}
