package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/spf13/cobra"
)

// sessionCapacity is how many tasks the agent of a private server runs at once.
var sessionCapacity = max(4, runtime.NumCPU())

// upFlags are those of otto up.
type upFlags struct {
	listen, metricsListen string
	capacity              int
	drain                 time.Duration
}

func newUp(a *app) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine: database, API, workers and an agent",
		Long: `Up is a whole Otto in one process, and an agent in another. Everything it knows is in the data directory and survives a
restart: a run that is in progress goes on. It uses a Postgres of its own, or the one of OTTO_DATABASE_URL; and keeps bytes
in the data directory, or in OTTO_STORE_URL.

The first start prints an admin's token. Other commands of this machine find the server by themselves. Ctrl-C lets
running tasks end for a while, then hands them back; a second one hands them back at once.` +
			exitStatus("0  stopped by a signal", "1  it could not start, or a part of it failed"),
		Example: examples("otto up", "otto up --listen 0.0.0.0:7070", "OTTO_DATABASE_URL=postgres://otto@db/otto otto up"),
		Args:    nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := a.passEnv(); err != nil {
				return usage(cmd, "%w", err)
			}
			return a.up(cmd.Context(), f)
		},
	}
	cmd.Flags().StringVar(&f.listen, "listen", "127.0.0.1:7070", "`address` of the API")
	cmd.Flags().StringVar(&f.metricsListen, "metrics-listen", "127.0.0.1:7071", "`address` of the metrics; empty for none")
	cmd.Flags().IntVar(&f.capacity, "capacity", sessionCapacity, "how many tasks the agent runs at once")
	cmd.Flags().DurationVar(&f.drain, "drain-timeout", 10*time.Second, "how long running tasks may take to end at the first Ctrl-C")
	a.addPassEnv(cmd.Flags(), "the agent")
	return serves(cmd, "warn")
}

func (a *app) up(ctx context.Context, f upFlags) error {
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, endings...)
	defer signal.Stop(signals)
	dir, err := a.dataDir()
	if err != nil {
		return err
	}
	starting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-began:
		}
	}()
	local, err := a.startLocal(starting, dir, localConfig{
		listen: f.listen, metricsListen: f.metricsListen, databaseURL: a.env.databaseURL, storeURL: a.env.storeURL,
		agent: &agentSettings{capacity: f.capacity, drain: f.drain},
	})
	close(began)
	switch {
	case errors.Is(err, errBusy):
		return withHint(fmt.Errorf("another otto runs on %s", dir), "use that one: other commands find it by themselves; or choose another place with --data-dir")
	case context.Cause(starting) != nil:
		if err == nil {
			local.Stop()
		}
		return exit(codeOK)
	case err != nil:
		return err
	}
	a.greet(local)
	return a.serveUntilSignal(signals, local)
}

// greet says where the server is; the token is printed once, and kept in a file.
func (a *app) greet(l *localServer) {
	s := a.stdoutStyle()
	fmt.Fprintf(a.stdout, "otto is up at %s\n", s.bold(l.plane.url))
	if l.fresh {
		fmt.Fprintf(a.stdout, "admin token: %s\n", l.token)
	}
	fmt.Fprintf(a.stdout, "%s\n", s.dim("token kept in "+tokenFile(l.dir, adminToken)+"; commands of this machine find it by themselves"))
	a.log.Info("database", "url", l.plane.dbURL)
}

// serveUntilSignal stops the server at a signal, or when a part of it has failed. A second signal makes it fast.
func (a *app) serveUntilSignal(signals <-chan os.Signal, l *localServer) error {
	var failure error
	select {
	case failure = <-l.plane.failed:
	case <-signals:
		a.say("stopping … press Ctrl-C again to stop at once")
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		l.Stop()
	}()
	for {
		select {
		case <-stopped:
			return failure
		case <-signals:
			l.agent.Hurry()
		}
	}
}
