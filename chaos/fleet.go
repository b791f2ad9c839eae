package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ottoci/otto/client"
)

// The size of the fleet.
const (
	apiNodes = 2
	workers  = 2
	agents   = 4
	capacity = 3 // tasks an agent runs at once
)

// fleet is a whole Otto: every connection agent→API and process→Postgres goes through a proxy of ours.
type fleet struct {
	dir     string
	otto    string
	mark    string // in the environment of every step, to find what they leave running
	pg      *postgres
	history *history
	nodes   []string // host:port of the API nodes
	members map[string]*member
	links   map[string]*link // to Postgres, by member
	doors   map[string]*door // to the API, by agent, and "users"
	disks   map[string]*disk // by agent, and "store" and "postgres"
	noDisks error            // why there are none
	admin   *client.Client
	token   string // the admin's
}

// newFleet brings everything up and waits until all agents are online.
func newFleet(ctx context.Context, cfg config) (_ *fleet, err error) {
	f := &fleet{dir: cfg.Dir, otto: cfg.Otto, mark: fmt.Sprintf("chaos-%d-%d", cfg.Seed, os.Getpid()), history: newHistory(),
		members: map[string]*member{}, links: map[string]*link{}, doors: map[string]*door{}}
	if f.otto == "" {
		if f.otto, err = build(ctx, f.dir); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.end(ctx))
		}
	}()
	f.disks, f.noDisks = newDisks(ctx, f)
	if f.pg, err = startPostgres(ctx, f.dir); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{f.startServers, f.startUsers, f.startAgents} {
		if err = step(ctx); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// build makes the otto program.
func build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "otto")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/ottoci/otto/cmd/otto")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build otto: %w: %s", err, out)
	}
	return path, nil
}

// env is a clean environment for a process of the fleet, whatever stands in ours.
func (f *fleet) env(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + f.dir, "TMPDIR=" + os.TempDir(), "OTTO_LOG=info"}, more...)
}

// onDatabase is the environment of a process that talks to Postgres through the link.
func (f *fleet) onDatabase(l *link) []string {
	return f.env("OTTO_DATABASE_URL="+urlAt(l.address()), "OTTO_STORE_URL="+filepath.Join(f.dir, "store"), "OTTO_DATA_DIR="+filepath.Join(f.dir, "data"))
}

func (f *fleet) startServers(ctx context.Context) error {
	for i := range apiNodes {
		address, err := freeAddress(ctx)
		if err != nil {
			return err
		}
		f.nodes = append(f.nodes, address)
		if err := f.serve(fmt.Sprint("api-", i+1), "server", "--listen", address, "--metrics-listen", ""); err != nil {
			return err
		}
	}
	for i := range workers {
		if err := f.serve(fmt.Sprint("worker-", i+1), "worker"); err != nil {
			return err
		}
	}
	return nil
}

// serve starts a process that works on the database.
func (f *fleet) serve(name string, args ...string) (err error) {
	if f.links[name], err = newLink(f.pg.dial); err != nil {
		return err
	}
	f.members[name], err = newMember(f, name, f.onDatabase(f.links[name]), args...)
	return err
}

// startUsers opens the door of those who submit runs, and makes their token as an operator does.
func (f *fleet) startUsers(ctx context.Context) (err error) {
	if f.doors["users"], err = newDoor("users", f.nodes, f.history); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, f.otto, "token", "create", "--bootstrap")
	cmd.Env = f.onDatabase(f.links["worker-1"])
	var talk bytes.Buffer
	cmd.Stderr = &talk
	secret, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("make the first token: %w: %s", err, &talk)
	}
	f.token = strings.TrimSpace(string(secret))
	f.admin, err = client.New(client.Config{URL: f.doors["users"].url, Token: f.token, UserAgent: "otto-chaos"})
	return err
}

func (f *fleet) startAgents(ctx context.Context) error {
	if err := until(ctx, "the API answers", func() (bool, error) {
		_, err := f.admin.AgentList(ctx, client.AgentListOptions{})
		return err == nil, nil
	}); err != nil {
		return err
	}
	for i := range agents {
		name := fmt.Sprint("agent-", i+1)
		token, err := f.admin.TokenCreate(ctx, client.TokenCreate{Name: name, Role: "enrol"})
		if err != nil {
			return err
		}
		if f.doors[name], err = newDoor(name, f.nodes, f.history); err != nil {
			return err
		}
		f.members[name], err = newMember(f, name, f.env("OTTO_URL="+f.doors[name].url, "OTTO_ENROL_TOKEN="+token.Secret),
			"agent", "--name", name, "--dir", f.workDir(name), "--capacity", fmt.Sprint(capacity), "--drain-timeout", "1s", "--isolation", "S0") // its steps tell the harness through files
		if err != nil {
			return err
		}
	}
	return until(ctx, "all agents are online", func() (bool, error) {
		n, err := f.number(ctx, "select count(*) from agents where state = 'online'")
		return n == agents, err
	})
}

func (f *fleet) workDir(agent string) string { return filepath.Join(f.dir, agent) }

// executions is the file to which every step appends a line: what really ran, whatever the database says.
func (f *fleet) executions() string { return filepath.Join(f.dir, "executions") }

// number asks the database for one.
func (f *fleet) number(ctx context.Context, query string, args ...any) (n int, err error) {
	return n, f.pg.admin.QueryRow(ctx, query, args...).Scan(&n)
}

// end ends all processes, those that ask before those that answer.
func (f *fleet) end(ctx context.Context) error {
	var errs []error
	for _, role := range []string{"agent", "api", "worker"} {
		for name, m := range f.members {
			if strings.HasPrefix(name, role) && m != nil {
				errs = append(errs, m.end(ctx))
			}
		}
	}
	for _, d := range f.doors {
		if d != nil {
			d.end()
		}
	}
	for _, l := range f.links {
		if l != nil {
			l.end()
		}
	}
	if f.pg != nil {
		f.pg.end()
	}
	return errors.Join(append(errs, unmount(ctx, f.disks))...)
}

func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// glance is how often a condition that nothing announces is looked at.
const glance = 100 * time.Millisecond

// until looks again and again until ok; the error of a deadline says what did not come true.
func until(ctx context.Context, what string, ok func() (bool, error)) error {
	for {
		is, err := ok()
		if is || err != nil {
			return err
		}
		wait(ctx, glance)
		if ctx.Err() != nil {
			return fmt.Errorf("waited in vain until %s: %w", what, context.Cause(ctx))
		}
	}
}
