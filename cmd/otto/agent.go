package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/agent/engine"
	"github.com/ottoci/otto/agent/isolation"
	"github.com/ottoci/otto/client"
)

// codeCredential is the exit status of an agent whose credential the server refuses: starting it again will not help.
const codeCredential = 77 // EX_NOPERM of sysexits.h

// agentFlags are those of otto agent.
type agentFlags struct {
	enrolTokenFile, name, dir string
	capacity                  int
	labels                    []string
	drain                     time.Duration
	once                      bool
	autoUpgrade               bool
	logBytes                  int64
	containers                engine.Config
	isolation                 string
	egress                    []string
	users                     int
	git                       agent.Git
}

func newAgent(a *app) *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run tasks for a server",
		Long: `Agent takes tasks from the server of OTTO_URL and runs them. At its first start it enrols with a one-time token, and keeps
the credential that it gets in its directory.

At the first SIGTERM or Ctrl-C it takes no more work and lets its tasks end; at the second it hands them back. At SIGUSR2 it becomes the
program that its file holds by then, once its tasks have ended: the same process, with the same credential.` +
			exitStatus("0  it has drained", "1  it could not start, or failed", "77 the server refuses its credential"),
		Example: examples("OTTO_ENROL_TOKEN=$(otto token create --role enrol) otto agent --url https://otto.example",
			"otto agent --url https://otto.example --label gpu=true --label region=eu --capacity 2"),
		Args: nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.agentConfig(cmd, f)
			if err != nil {
				return err
			}
			return a.runAgent(cmd.Context(), cfg, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.enrolTokenFile, "enrol-token-file", "", "`file` with the enrolment token (OTTO_ENROL_TOKEN)")
	flags.StringVar(&f.name, "name", "", "how people call it; the host's name if absent")
	flags.StringVar(&f.dir, "dir", "", "where it works and keeps its credential; agent in the data directory if absent")
	flags.IntVar(&f.capacity, "capacity", 1, "how many tasks it runs at once")
	flags.StringArrayVar(&f.labels, "label", nil, "a capability it offers, as `name=value`; may be repeated")
	flags.DurationVar(&f.drain, "drain-timeout", 10*time.Minute, "how long tasks may take to end once it drains")
	flags.Int64Var(&f.logBytes, "log-limit", 4<<30, "`bytes` of a task's output that are kept; the log is cut there, with a mark")
	addContainerFlags(flags, &f.containers)
	addGit(flags, &f.git)
	flags.StringVar(&f.isolation, "isolation", "", "how far tasks are isolated that ask for less: S0 to S3, or auto, which is S1 where that holds and else S0 (OTTO_ISOLATION)")
	flags.StringArrayVar(&f.egress, "egress-allow", nil, "a `host` or host:port that tasks of S3 may reach besides the public internet; may be repeated")
	flags.IntVar(&f.users, "task-users", isolation.FirstUser, "the `first` of the 1024 users that tasks get, from S1 on")
	a.addPassEnv(flags, "it")
	flags.BoolVar(&f.autoUpgrade, "auto-upgrade", false, "become the program that replaces this one's file, once the tasks have ended")
	flags.BoolVar(&f.once, "once", false, "take one task, then end")
	cmd.AddCommand(newDoctor(a))
	return serves(cmd, "info")
}

// levelOf reads a default level of isolation.
func levelOf(word string) (isolation.Level, error) {
	if word == "" || word == "auto" {
		return isolation.Auto, nil
	}
	level, err := isolation.ParseLevel(word)
	if err == nil && level == isolation.S4 {
		err = errors.New("S4 is a container, which a task has by its image; write S0, S1, S2, S3 or auto")
	}
	return level, err
}

// addContainerFlags adds those about the container engine.
func addContainerFlags(flags *pflag.FlagSet, c *engine.Config) {
	flags.StringVar(&c.Host, "docker-host", "", "the `socket` of the container engine, as unix:///PATH (DOCKER_HOST); none runs no containers; "+engine.DefaultHost+" if absent")
	flags.StringVar(&c.Registries, "registry-config", "", "a config.json of Docker, a `file` with credentials of registries that images are pulled from")
	flags.StringArrayVar(&c.Allow, "allow", nil, "a `power` that containers of projects with a grant for it may have: "+strings.Join(engine.Powers(), ", ")+"; may be repeated")
	flags.Int64Var(&c.Limits.Memory, "container-memory", 0, "`bytes` of memory that a container may take, unless its task says less; no limit if absent")
	flags.Float64Var(&c.Limits.CPU, "container-cpus", 0, "how many `cores` a container may take; no limit if absent")
	flags.Int64Var(&c.Limits.Processes, "container-pids", engine.DefaultPids, "how many processes and threads a container may have")
}

func (a *app) agentConfig(cmd *cobra.Command, f agentFlags) (agent.Config, error) {
	url := first(a.flags.url, a.env.url)
	if url == "" {
		return agent.Config{}, withHint(errors.New("the agent has no server"), "set OTTO_URL or give --url")
	}
	dir := f.dir
	if dir == "" {
		data, err := a.dataDir()
		if err != nil {
			return agent.Config{}, err
		}
		dir = filepath.Join(data, "agent")
	}
	enrol := a.env.enrolToken
	if f.enrolTokenFile != "" {
		body, err := os.ReadFile(f.enrolTokenFile)
		if err != nil {
			return agent.Config{}, fmt.Errorf("read the enrolment token: %w", err)
		}
		enrol = strings.TrimSpace(string(body))
	}
	labels, err := parseLabels(f.labels)
	if err != nil {
		return agent.Config{}, usage(cmd, "%w", err)
	}
	passed, err := a.passEnv()
	if err != nil {
		return agent.Config{}, usage(cmd, "%w", err)
	}
	level, err := levelOf(first(f.isolation, a.env.isolation))
	if err != nil {
		return agent.Config{}, usage(cmd, "--isolation: %w", err)
	}
	if _, err := isolation.NewEgress(f.egress); err != nil {
		return agent.Config{}, usage(cmd, "--egress-allow: %w", err)
	}
	if f.users < 1 || f.users > math.MaxInt32-1024 {
		return agent.Config{}, usage(cmd, "--task-users: %d is no user that tasks can have", f.users)
	}
	if local := a.env.dockerHost; f.containers.Host == "" && strings.HasPrefix(local, "unix://") { // another machine's could not share the workspace
		f.containers.Host = local
	}
	return agent.Config{
		Engine: f.containers, Isolation: level, EgressAllow: f.egress, TaskUsers: f.users,
		Note: func(text string) { a.say("note: %s", text) },
		URL:  url, Version: version(), EnrolToken: enrol, StateFile: agentState(dir), Name: f.name, Capacity: f.capacity, Once: f.once, LogBytes: f.logBytes,
		Labels: labels, Tools: agent.KnownTools(), WorkDir: dir, Environ: a.env.all, PassEnv: passed, DrainTimeout: f.drain, Git: f.git, Log: a.log,
	}, nil
}

// parseLabels reads name=value; a value is a boolean or a number if it looks like one, as in an Ottofile.
func parseLabels(words []string) (map[string]any, error) {
	labels := map[string]any{}
	for _, word := range words {
		name, text, ok := strings.Cut(word, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("the label %q is not name=value", word)
		}
		labels[name] = text
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			labels[name] = n
		} else if b, err := strconv.ParseBool(text); err == nil && len(text) > 1 {
			labels[name] = b
		}
	}
	return labels, nil
}

// runAgent works until a signal.
func (a *app) runAgent(ctx context.Context, cfg agent.Config, f agentFlags) error {
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, endings...)
	defer signal.Stop(signals)
	worker, err := agent.New(cfg)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	var ordered atomic.Bool // to end
	var obeying sync.WaitGroup
	obeying.Go(func() {
		for count := 0; ; count++ {
			select {
			case <-ended:
				return
			case <-signals:
			}
			ordered.Store(true)
			if count == 0 {
				worker.Drain()
				continue
			}
			worker.Stop()
		}
	})
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	upgrade := &upgrader{app: a, worker: worker, path: path, every: f.lookEvery()}
	watching, unwatch := context.WithCancel(ctx)
	obeying.Go(func() { upgrade.watch(watching) })
	err = worker.Run(ctx)
	close(ended)
	unwatch()
	obeying.Wait()
	if err == nil && upgrade.due() && !ordered.Load() {
		return upgrade.become()
	}
	if client.IsStatus(err, http.StatusUnauthorized) || client.IsStatus(err, http.StatusForbidden) {
		a.report(withHint(err, "enrol again: otto token create --role enrol; a credential that is refused can be removed from %s", cfg.StateFile))
		return exit(codeCredential)
	}
	return err
}
