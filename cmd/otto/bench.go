package main

import (
	"errors"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/bench"
)

func newBench(a *app) *cobra.Command {
	var cfg bench.Config
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast Otto is on this machine",
		Long: `Bench starts a throw-away Postgres with durable settings and Otto's own processes on it, measures them in turns with what
bare SQL can do there, and holds the ratios against what Otto promises. It takes up to ten minutes and both hands of the
machine; --quick takes about one. Its parts are ` + strings.Join(bench.Sections(), ", ") + `.` +
			exitStatus("0  measured, whatever came out", "1  it could not be measured"),
		Example: examples("otto bench --quick", "otto bench --only ceiling,throughput", "otto bench --json > result.json"),
		Args:    nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range cfg.Only {
				if !slices.Contains(bench.Sections(), name) {
					return usage(cmd, "there is no part %q: they are %s", name, strings.Join(bench.Sections(), ", "))
				}
			}
			return a.runBench(cmd, cfg, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&cfg.Only, "only", nil, "measure these `parts` only")
	flags.BoolVar(&cfg.Quick, "quick", false, "about a minute, with less certainty")
	flags.Uint64Var(&cfg.Seed, "seed", 1, "of everything that is random")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return serves(cmd, "info")
}

// runBench measures in a scratch directory, and prints what was measured even if a part failed.
func (a *app) runBench(cmd *cobra.Command, cfg bench.Config, asJSON bool) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), endings...)
	defer stop()
	dir, err := os.MkdirTemp("", "otto-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // root's Postgres runs as another user, who must get through
		return err
	}
	if cfg.Otto, err = os.Executable(); err != nil {
		return err
	}
	cfg.Dir, cfg.PgBin, cfg.Log = dir, a.env.pgBin, a.log
	report, err := bench.Run(ctx, cfg)
	if report == nil {
		return err
	}
	write := func() error { return report.Write(a.stdout) }
	if asJSON {
		write = func() error { return a.printJSON(report) }
	}
	return errors.Join(write(), err)
}
