package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
)

// errNoDatabase is what the pieces of a fleet say without one: they are many, so none of them can bring its own.
var errNoDatabase = errors.New("OTTO_DATABASE_URL is not set")

func newServer(a *app) *cobra.Command {
	var listen, metricsListen string
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the API of a fleet",
		Long: `Server answers the API on the database of OTTO_DATABASE_URL and the object store of OTTO_STORE_URL. Any number of them may
run at once; otto worker does the chores, and otto agent runs tasks.` +
			exitStatus("0  stopped by a signal", "1  it could not start, or a part of it failed"),
		Example: examples("OTTO_DATABASE_URL=postgres://otto@db/otto OTTO_STORE_URL=s3://otto otto server --listen 0.0.0.0:7070"),
		Args:    nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.fleetConfig()
			if err != nil {
				return err
			}
			cfg.listen, cfg.metricsListen = listen, metricsListen
			return a.servePlane(cmd.Context(), cfg, func(p *plane) { fmt.Fprintf(a.stdout, "otto server is up at %s\n", p.url) })
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:7070", "`address` of the API")
	cmd.Flags().StringVar(&metricsListen, "metrics-listen", "127.0.0.1:7071", "`address` of the metrics; empty for none")
	return serves(cmd, "info")
}

func newWorker(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run the chores of a fleet: planning, reaping, compaction",
		Long: `Worker does the jobs that the API and the database leave to others, on the database of OTTO_DATABASE_URL and the object
store of OTTO_STORE_URL. Any number of them may run at once. It never executes a user's step.` +
			exitStatus("0  stopped by a signal", "1  it could not start, or a part of it failed"),
		Example: examples("OTTO_DATABASE_URL=postgres://otto@db/otto OTTO_STORE_URL=s3://otto otto worker"),
		Args:    nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.fleetConfig()
			if err != nil {
				return err
			}
			cfg.jobs = true
			return a.servePlane(cmd.Context(), cfg, func(*plane) { fmt.Fprintln(a.stdout, "otto worker is up") })
		},
	}
	return serves(cmd, "info")
}

// fleetConfig is what the pieces of a fleet have in common.
func (a *app) fleetConfig() (planeConfig, error) {
	dir, err := a.dataDir()
	switch {
	case a.env.databaseURL == "":
		return planeConfig{}, withHint(errNoDatabase, "OTTO_DATABASE_URL=postgres://user@host/otto; otto up brings a database of its own")
	case a.env.storeURL == "" && err != nil:
		return planeConfig{}, err
	}
	return planeConfig{dataDir: dir, databaseURL: a.env.databaseURL, storeURL: a.env.storeURL, limits: a.limits, log: a.log}, nil
}

// servePlane runs a part of a control plane until a signal, or until it fails.
func (a *app) servePlane(ctx context.Context, cfg planeConfig, greet func(*plane)) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, endings...)
	defer signal.Stop(signals)
	p, err := startPlane(ctx, cfg)
	if err != nil {
		return err
	}
	greet(p)
	select {
	case err = <-p.failed:
	case <-signals:
		go func() {
			<-signals
			os.Exit(codeFailed)
		}()
	}
	p.Stop()
	return err
}
