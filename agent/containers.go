package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ottoci/otto/agent/engine"
)

// NoEngine as Config.Engine.Host says that the agent runs no containers.
const NoEngine = "none"

// containers is the container engine that an agent uses.
type containers struct {
	engine *engine.Engine // nil: none

	mu     sync.Mutex
	warden *exec.Cmd // nil until the first container
	leash  io.Closer
}

// ownerName is the file in the work directory that tells this agent's containers from those of others: two agents that share
// an engine may well have directories of the same name.
const ownerName = "id"

// openEngine prepares the use of the engine, and removes what an earlier life of the agent has left there.
func (a *Agent) openEngine(ctx context.Context) error {
	if a.cfg.Engine.Host == NoEngine {
		return nil
	}
	cfg := a.cfg.Engine
	var err error
	if cfg.Agent, err = a.dir.owner(); err != nil {
		return err
	}
	if a.containers.engine, err = engine.Open(cfg); err != nil {
		return err
	}
	if a.containers.ready(ctx) != nil {
		return nil
	}
	removed, err := a.containers.engine.Sweep(ctx)
	if len(removed) > 0 || err != nil {
		a.log.WarnContext(ctx, "swept containers of a dead agent", "removed", strings.Join(removed, ", "), "error", err)
	}
	return nil
}

// owner reads the name of this work directory among all, or gives it one.
func (d *workDir) owner() (string, error) {
	path := filepath.Join(d.path, ownerName)
	body, err := os.ReadFile(path)
	if err == nil && len(body) > 0 {
		return string(body), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("name the work directory: %w", err)
	}
	name := strings.ToLower(rand.Text())
	if err := writeFileAtomic(path, []byte(name)); err != nil {
		return "", fmt.Errorf("name the work directory: %w", err)
	}
	return name, nil
}

var errNoEngine = errors.New("it is to use no container engine")

// ready says why no container can be run now; nil if one can.
func (c *containers) ready(ctx context.Context) error {
	if c.engine == nil {
		return errNoEngine
	}
	return c.engine.Ping(ctx)
}

// wardenWord after KeeperCommand makes the keeper a warden.
const wardenWord = "warden"

// guard starts the warden, once: a process that outlives a kill -9 of the agent just long enough to remove its containers.
func (a *Agent) guard() error {
	c := &a.containers
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.warden != nil {
		return nil
	}
	argv := append(append([]string{}, a.cfg.Keeper...), wardenWord)
	argv = append(argv, c.engine.WardenArgs()...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Args[0] = "otto"
	cmd.Env = []string{}
	cmd.SysProcAttr = wardenAttributes()
	leash, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start the warden of containers: %w", err)
	}
	if err := a.keepers.start(cmd); err != nil {
		return errors.Join(fmt.Errorf("start the warden of containers: %w", err), leash.Close())
	}
	c.warden, c.leash = cmd, leash
	return nil
}

// closeEngine ends the warden, which then finds nothing to do.
func (a *Agent) closeEngine(ctx context.Context) {
	c := &a.containers
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.engine == nil {
		return
	}
	if c.warden != nil {
		_ = c.leash.Close()
		if err := c.warden.Wait(); err != nil {
			a.log.WarnContext(ctx, "warden of containers failed", "error", err)
		}
		a.keepers.forget(c.warden)
	}
	if err := c.engine.Close(); err != nil {
		a.log.WarnContext(ctx, "container engine not closed", "error", err)
	}
}

// offers is what the agent offers of the engine.
func (c *containers) offers(ctx context.Context, allowed []string) map[string]any {
	if c.ready(ctx) != nil {
		return nil
	}
	out := map[string]any{"docker": true}
	for _, power := range allowed {
		out[allowsPrefix+power] = true
	}
	return out
}

// allowsPrefix begins the capabilities by which an agent tells what it allows to containers.
const allowsPrefix = "allows."
