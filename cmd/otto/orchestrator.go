package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/orchestrator"
)

func newOrchestrator(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "orchestrator",
		Short: "Start agents on demand",
		Long: `Orchestrator starts agents when tasks wait for them, and stops them when they have no work. It offers templates of agents, with
what they can do and what they cost; where the server has an auction window, it bids for tasks that no idle agent fits.`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newOrchestratorList(a), newOrchestratorLocal(a), newOrchestratorDocker(a), newOrchestratorConformance(a))
	return cmd
}

// orchestratorFlags are those of all orchestrators.
type orchestratorFlags struct {
	enrolTokenFile, name, dir string
	limit                     int
	price                     float64
	start                     time.Duration
	idle, drain               time.Duration
	labels                    []string
	once                      bool
	isolation                 string
}

func (f *orchestratorFlags) add(flags *pflag.FlagSet, name string) {
	flags.StringVar(&f.enrolTokenFile, "enrol-token-file", "", "`file` with a token of the role enrol-orchestrator (OTTO_ENROL_TOKEN)")
	flags.StringVar(&f.name, "name", "", "how people call it; "+name+" and the host's name if absent")
	flags.StringVar(&f.dir, "dir", "", "where it keeps its credential, and its agents work; orchestrator-"+name+" in the data directory if absent")
	flags.IntVar(&f.limit, "limit", max(1, runtime.NumCPU()), "the most agents at once, each for one task at a time")
	flags.Float64Var(&f.price, "price", 0, "what an agent costs per hour, in the unit of your installation")
	flags.DurationVar(&f.start, "start-time", time.Second, "how long a start takes, to be told to people and other programs")
	flags.DurationVar(&f.idle, "idle", time.Minute, "an agent without work for so long is stopped")
	flags.DurationVar(&f.drain, "drain-timeout", 10*time.Minute, "how long tasks may take to end once the orchestrator stops")
	flags.StringArrayVar(&f.labels, "label", nil, "a capability that its agents offer, as `name=value`; may be repeated")
}

func newOrchestratorLocal(a *app) *cobra.Command {
	var f orchestratorFlags
	cmd := &cobra.Command{
		Use:   "local",
		Short: "Start agents as processes of this machine",
		Long: `Local starts agents of this very program when tasks wait for them, each in a process and a directory of its own, and stops those
that have been idle. At its first start it enrols with a one-time token.

At the first SIGTERM or Ctrl-C it starts no more and lets its agents end their tasks; at the second they hand them back. When it
is killed, its agents die with it.` +
			exitStatus("0  it has stopped", "1  it could not start, or failed", "77 the server refuses its credential"),
		Example: examples("OTTO_ENROL_TOKEN=$(otto token create --role enrol-orchestrator) otto orchestrator local --url https://otto.example --limit 4",
			"otto orchestrator local --url https://otto.example --price 0.20 --label pool=ci --once"),
		Args: nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.orchestratorOf(cmd, f, "local")
			if err != nil {
				return err
			}
			return a.runLocalOrchestrator(cmd, f, o)
		},
	}
	f.add(cmd.Flags(), "local")
	cmd.Flags().StringVar(&f.isolation, "isolation", "", "how far agents isolate tasks that ask for less, as for otto agent (OTTO_ISOLATION)")
	cmd.Flags().BoolVar(&f.once, "once", false, "start a new agent for each task, rather than let one take the next")
	a.addPassEnv(cmd.Flags(), "an agent")
	return serves(cmd, "info")
}

// orchestratorParts are what all orchestrators are made of.
type orchestratorParts struct {
	url, name, dir string
	enrolToken     string
	labels         map[string]any
	passEnv        []string
}

func (a *app) orchestratorOf(cmd *cobra.Command, f orchestratorFlags, kind string) (p orchestratorParts, err error) {
	if p.url = first(a.flags.url, a.env.url); p.url == "" {
		return p, withHint(errors.New("the orchestrator has no server"), "set OTTO_URL or give --url")
	}
	if p.dir = f.dir; p.dir == "" {
		data, err := a.dataDir()
		if err != nil {
			return p, err
		}
		p.dir = filepath.Join(data, "orchestrator-"+kind)
	}
	if p.dir, err = filepath.Abs(p.dir); err != nil {
		return p, err
	}
	p.enrolToken = a.env.enrolToken
	if f.enrolTokenFile != "" {
		body, err := os.ReadFile(f.enrolTokenFile)
		if err != nil {
			return p, fmt.Errorf("read the enrolment token: %w", err)
		}
		p.enrolToken = strings.TrimSpace(string(body))
	}
	if f.limit < 1 || f.price < 0 {
		return p, usage(cmd, "--limit must be 1 or more, and --price 0 or more")
	}
	if p.labels, err = parseLabels(f.labels); err != nil {
		return p, usage(cmd, "%w", err)
	}
	if p.passEnv, err = a.passEnv(); err != nil {
		return p, usage(cmd, "%w", err)
	}
	host, err := os.Hostname()
	p.name = first(f.name, kind+"@"+host)
	return p, err
}

func (a *app) runLocalOrchestrator(cmd *cobra.Command, f orchestratorFlags, p orchestratorParts) error {
	offers, err := agent.Offers(cmd.Context(), agent.Config{URL: p.url, Token: "none yet", WorkDir: p.dir, Labels: p.labels, Environ: a.env.all})
	if err != nil {
		return err
	}
	proven, err := a.examine(cmd)
	if err != nil {
		return err
	}
	if proven.Best > 0 {
		offers["isolation"] = int(proven.Best)
	}
	args := []string{"--isolation", first(f.isolation, a.env.isolation, "auto"), "--capacity", "1", "--drain-timeout", f.drain.String(), "--log-level", a.flags.logLevel, "--log-format", a.flags.logFormat}
	for _, label := range f.labels {
		args = append(args, "--label", label)
	}
	for _, name := range p.passEnv {
		args = append(args, "--pass-env", name)
	}
	if f.once {
		args = append(args, "--once")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return a.runOrchestrator(cmd.Context(), f, p, offers, &orchestrator.Local{
		URL: p.url, Program: self, Dir: filepath.Join(p.dir, "agents"), Args: args, Stderr: os.Stderr, Log: a.log,
		// What is ours stays ours: an agent gets a token of its own, and nothing else.
		Env: slices.DeleteFunc(slices.Clone(a.env.all), func(v string) bool { return strings.HasPrefix(v, "OTTO_") }),
	})
}

// runOrchestrator works until a signal: the first lets agents end their tasks, the second hands them back.
func (a *app) runOrchestrator(ctx context.Context, f orchestratorFlags, p orchestratorParts, offers map[string]any, provider orchestrator.Provider) error {
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, endings...)
	defer signal.Stop(signals)
	offer := client.OrchestratorOffer{Name: p.name, Version: version(), Templates: []client.Template{{
		Name: "default", Offers: offers, Price: f.price, StartMS: f.start.Milliseconds(), Instances: f.limit,
	}}}
	state := filepath.Join(p.dir, "credential.json")
	c, err := orchestrator.Identity{URL: p.url, Token: a.flags.token, EnrolToken: p.enrolToken, StateFile: state, Offer: offer}.Connect(ctx)
	if errors.Is(err, orchestrator.ErrNoCredential) {
		return withHint(err, "OTTO_ENROL_TOKEN=$(otto token create --role enrol-orchestrator)")
	}
	if err != nil {
		return a.orchestratorFailed(err, state)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	hurry, hurryUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hurryUp()
	var obeying sync.WaitGroup
	ended := make(chan struct{})
	obeying.Go(func() {
		for _, obey := range []func(){stop, hurryUp} {
			select {
			case <-ended:
				return
			case <-signals:
				obey()
			}
		}
	})
	a.log.InfoContext(ctx, "orchestrator started", "name", p.name, "url", p.url, "limit", f.limit)
	err = orchestrator.New(orchestrator.Config{Client: c, Offer: offer, Provider: provider, Limit: f.limit, Idle: f.idle, Log: a.log}).Run(ctx, hurry)
	close(ended)
	obeying.Wait()
	return a.orchestratorFailed(err, state)
}

// orchestratorFailed says what to do about a credential that the server refuses.
func (a *app) orchestratorFailed(err error, state string) error {
	for _, refused := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusConflict} {
		if client.IsStatus(err, refused) {
			a.report(withHint(err, "enrol again: otto token create --role enrol-orchestrator; a credential that is refused can be removed from %s", state))
			return exit(codeCredential)
		}
	}
	return err
}
