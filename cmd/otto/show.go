package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/client"
)

func newShow(a *app) *cobra.Command {
	var asJSON, wait bool
	cmd := &cobra.Command{
		Use:   "show [RUN]",
		Short: "Show a run: its stages, tasks and steps, and what it waits for",
		Long: `Show prints a run with its stages, tasks and steps; what a task that does not run waits for; and why, where a state
alone does not say. Without RUN it is the latest.` +
			exitStatus("0  done; with --wait: the run succeeded", "1  refused; with --wait: the run failed", "2  with --wait: it was aborted", "3  with --wait: it is unstable"),
		Example: examples("otto show", "otto show 3 --wait", "otto show 3 --json | jq .stages"),
		Args:    atMost(1, "run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := runArg(cmd, args)
			if err != nil {
				return err
			}
			return a.onServer(cmd, func(ctx context.Context, c *connection) error {
				detail, err := c.RunShow(ctx, run)
				if err == nil && wait {
					detail, err = a.await(ctx, c, detail)
				}
				if err != nil {
					return err
				}
				auctions, err := c.AuctionList(ctx, client.AuctionListOptions{Run: detail.Run.Run, ListOptions: client.ListOptions{Limit: pageSize}})
				if err != nil && !client.IsStatus(err, http.StatusNotFound) { // an older server has none
					return err
				}
				if err := a.printRun(detail, auctions.Items, asJSON); err != nil || !wait {
					return err
				}
				return codeOf(detail.State)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the run as JSON")
	cmd.Flags().BoolVarP(&wait, "wait", "w", false, "wait for the run's end, and answer with its result")
	return cmd
}

// await waits for a run's end, without showing it.
func (a *app) await(ctx context.Context, c *connection, run client.RunDetail) (client.RunDetail, error) {
	if client.Final(run.State) {
		return run, nil
	}
	if !c.canWork() {
		return run, withHint(fmt.Errorf("run %d is %s, and no server runs here that could go on with it", run.Run.Run, run.State), "otto up")
	}
	w := &watcher{client: c.Client, run: client.RunNumber(run.Run.Run), view: newQuietView(io.Discard, style{}), say: a.say}
	return w.watch(ctx)
}

// unstarted says when a run that has not started will.
func unstarted(state string) string {
	if client.Final(state) {
		return "never"
	}
	return "not yet"
}

func (a *app) printRun(run client.RunDetail, auctions []client.Auction, asJSON bool) error {
	if asJSON {
		return a.printJSON(run)
	}
	s := a.stdoutStyle()
	var b strings.Builder
	fact := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s %s\n", s.dim(pad(name, 9)), value)
		}
	}
	fmt.Fprintf(&b, "%s %s %s\n", s.mark(run.State), s.bold(fmt.Sprintf("run %d", run.Run.Run)), s.state(run.State))
	fact("name", run.Name)
	fact("project", run.Project)
	fact("reason", run.Reason)
	fact("started", first(when(run.StartedAt), unstarted(run.State)))
	fact("took", between(run.StartedAt, run.FinishedAt))
	fact("by", run.CreatedBy)
	if run.Priority != 0 {
		fact("priority", fmt.Sprint(run.Priority))
	}
	if run.RerunOf != 0 {
		fact("rerun of", fmt.Sprint(run.RerunOf))
	}
	fact("plan", run.Plan)
	fact("source", run.Source)
	fact("run id", run.ID)
	for _, d := range run.Diagnostics {
		fmt.Fprintf(&b, "%s:%d:%d: %s %s: %s\n", d.File, d.Line, d.Column, d.Severity, d.Code, d.Message)
	}
	x := &summary{style: s, run: run, steps: true}
	x.table()
	x.auctions(auctions)
	x.outputs()
	b.WriteString(x.String())
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

func when(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.Local().Format(time.DateTime)
}
