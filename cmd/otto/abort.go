package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/client"
)

func newAbort(a *app) *cobra.Command {
	var asJSON bool
	var reason string
	cmd := &cobra.Command{
		Use:     "abort RUN",
		Aliases: []string{"cancel"},
		Short:   "Abort a run; a second time, kill it",
		Long: `Abort stops a run: what has not begun stops at once, what runs gets 10 s to end, and what is marked always still runs.
A second abort stops that, too.` + exitStatus(exitDone, exitRefused),
		Example: examples("otto abort 3", "otto abort 3 --reason 'wrong branch'"),
		Args:    oneRun,
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := runArg(cmd, args)
			if err != nil {
				return err
			}
			return a.onServer(cmd, func(ctx context.Context, c *connection) error {
				aborted, err := c.RunAbort(ctx, run, client.RunAbort{Reason: reason})
				if client.IsStatus(err, 409) {
					return withHint(err, "otto rerun %s", run)
				}
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(aborted)
				}
				_, err = fmt.Fprintf(a.stdout, "run %d is %s\n", aborted.Run, aborted.State)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the run as JSON")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who ask later")
	return cmd
}

// oneRun takes a run, which must be named: what it does cannot be undone.
func oneRun(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage(cmd, "one run must be given")
	}
	return nil
}
