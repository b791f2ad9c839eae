package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/client"
)

func newRerun(a *app) *cobra.Command {
	var show viewFlags
	var wait bool
	cmd := &cobra.Command{
		Use:   "rerun RUN",
		Short: "Repeat a run, with the same plan and source",
		Long: `Rerun starts a new run of the same plan and source, and prints its number. With --wait, or where no server runs that
would outlive the command, it shows the run and answers with its result, as otto run does.` + exitOfRun(),
		Example: examples("otto rerun 3", "otto rerun 3 --wait"),
		Args:    oneRun,
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := runArg(cmd, args)
			if err != nil {
				return err
			}
			var started *client.Run
			err = a.session(cmd.Context(), show, func(ctx context.Context, c *connection) (client.Run, error) {
				created, err := c.RunRerun(ctx, run)
				if err == nil && !wait && c.lives() {
					started, err = &created, errUnwatched
				}
				return created, err
			})
			if started == nil {
				return err
			}
			if show.json {
				return a.printJSON(started)
			}
			_, err = fmt.Fprintf(a.stdout, "run %d repeats run %d\n", started.Run, started.RerunOf)
			return err
		},
	}
	cmd.Flags().BoolVarP(&wait, "wait", "w", false, "show the run, and answer with its result")
	show.add(cmd)
	return ownSignals(cmd)
}
