package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/orchestrator/conformance"
)

func newOrchestratorConformance(a *app) *cobra.Command {
	var patience time.Duration
	var asJSON, verbose bool
	var only []string
	cmd := &cobra.Command{
		Use:   "conformance -- COMMAND…",
		Short: "Test whether an orchestrator keeps the protocol",
		Long: `Conformance starts a private server with auctions, and the orchestrator that COMMAND starts; it plays everything that can happen
to an orchestrator, and prints a verdict for each rule. COMMAND gets OTTO_URL, at its first start OTTO_ENROL_TOKEN, and as
OTTO_DATA_DIR an empty directory that stays the same over its lives. It must be the orchestrator itself and not start it as a child,
since it gets its signals; and its agents must stop soon when they are idle. They run nothing but sleep and true.` +
			exitStatus("0  all rules are kept", "1  a rule is not kept, or nothing could be played"),
		Example: examples("otto orchestrator conformance -- otto orchestrator local --idle 1s", "otto orchestrator conformance --patience 5m -- ./my-orchestrator"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, "the command that starts the orchestrator is missing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg := conformance.Config{Command: args, Patience: patience, Only: only}
			if verbose {
				cfg.Output = a.stderr
			}
			return a.conformance(cmd.Context(), cfg, func(v conformance.Verdict) error {
				if asJSON {
					return a.printJSON(v)
				}
				return a.printVerdict(v)
			})
		},
	}
	cmd.Flags().DurationVar(&patience, "patience", time.Minute, "how long anything may take, such as the start of an agent")
	cmd.Flags().StringArrayVar(&only, "only", nil, "play this `rule` and the first; may be repeated")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print each verdict as a line of JSON")
	cmd.Flags().BoolVar(&verbose, "verbose", false, "show what the orchestrator prints, on stderr")
	return cmd
}

func (a *app) printVerdict(v conformance.Verdict) error {
	s := a.stdoutStyle()
	mark := map[string]string{conformance.Passed: s.paint("32", "✓"), conformance.Failed: s.paint("31", "✗"), conformance.Skipped: s.paint("2", "–")}[v.Result]
	line := fmt.Sprintf("%s %s %s", mark, pad(v.Rule, 11), v.Says)
	if v.Detail != "" {
		line += "\n  " + pad("", 11) + " " + v.Result + ": " + v.Detail
	}
	_, err := fmt.Fprintln(a.stdout, line)
	return err
}

var errNotConforming = errors.New("the orchestrator does not keep the protocol")

// conformance plays all rules against a private server.
func (a *app) conformance(ctx context.Context, cfg conformance.Config, tell func(conformance.Verdict) error) (err error) {
	dir, err := os.MkdirTemp("", "otto-conformance")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // the database's user passes through
		return err
	}
	own := filepath.Join(dir, "orchestrator")
	if err := os.Mkdir(own, 0o700); err != nil {
		return err
	}
	a.say("starting a private server")
	p, err := startPlane(ctx, planeConfig{dataDir: dir, pgBin: a.env.pgBin, listen: "127.0.0.1:0", jobs: true, migrate: true, limits: a.limits, log: a.log})
	if err != nil {
		return err
	}
	defer p.Stop()
	hangUp, err := a.completeConformance(ctx, p, &cfg)
	if err != nil {
		return err
	}
	defer hangUp()
	cfg.Dir = own
	var failure error
	failed, err := conformance.Run(ctx, cfg, func(v conformance.Verdict) { failure = errors.Join(failure, tell(v)) })
	if err = errors.Join(err, failure); err != nil || failed == 0 {
		return err
	}
	return fmt.Errorf("%w: %d of its rules failed", errNotConforming, failed)
}

// completeConformance adds what the play has of the server.
func (a *app) completeConformance(ctx context.Context, p *plane, cfg *conformance.Config) (hangUp func(), err error) {
	secret, err := createToken(ctx, db.New(p.pool), "user", "admin", "conformance")
	if err != nil {
		return nil, err
	}
	admin, err := client.New(client.Config{URL: p.url, Token: secret})
	if err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, p.dbURL)
	if err != nil {
		return nil, err
	}
	hangUp = func() { _ = conn.Close(context.WithoutCancel(ctx)) }
	// Who dies is missed soon; and an award is late only where the play makes it so.
	_, err = conn.Exec(ctx, "update cluster set lease_ttl = '6 seconds', heartbeat = '2 seconds', award_within = make_interval(secs => $1)", cfg.Patience.Seconds())
	if err != nil {
		hangUp()
		return nil, err
	}
	ours := func(v string) bool { return strings.HasPrefix(v, "OTTO_") }
	cfg.URL, cfg.Admin, cfg.Switches = p.url, admin, switches{conn}
	cfg.Env = slices.DeleteFunc(slices.Clone(a.env.all), ours)
	return hangUp, nil
}

// switches change in the database what no API changes.
type switches struct{ conn *pgx.Conn }

func (s switches) Window(ctx context.Context, window time.Duration) error {
	_, err := s.conn.Exec(ctx, "update cluster set auction_window = make_interval(secs => $1)", window.Seconds())
	return err
}

func (s switches) Expire(ctx context.Context, award string) error {
	_, err := s.conn.Exec(ctx, "update awards set start_by = otto.clock() where id = $1", award)
	return err
}
