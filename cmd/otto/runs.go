package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/client"
)

// onServer connects a verb that reads or decides to a server.
func (a *app) onServer(cmd *cobra.Command, do func(context.Context, *connection) error) error {
	survivePipes()
	c, err := a.connect(cmd.Context(), needAnswers)
	if err != nil {
		return err
	}
	defer c.close()
	err = do(cmd.Context(), c)
	if errors.Is(context.Cause(cmd.Context()), errInterrupted) {
		return errInterrupted
	}
	return err
}

func newRuns(a *app) *cobra.Command {
	var asJSON bool
	var states []string
	var project string
	var limit int
	cmd := &cobra.Command{
		Use:     "runs",
		Short:   "List runs, the newest first",
		Long:    "Runs lists runs, the newest first." + exitStatus(exitDone, exitRefused),
		Example: examples("otto runs", "otto runs --state failed --limit 5", "otto runs --json | jq .run"),
		Args:    nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usage(cmd, "--limit is %d: it must be at least 1", limit)
			}
			return a.onServer(cmd, func(ctx context.Context, c *connection) error {
				page, err := c.RunList(ctx, client.RunListOptions{States: states, Project: project, Limit: limit})
				if err != nil {
					return err
				}
				if asJSON {
					return printEach(a, page.Items)
				}
				return a.printRuns(page.Items)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print each run as a line of JSON")
	cmd.Flags().StringSliceVar(&states, "state", nil, "only runs in these `states`")
	cmd.Flags().StringVar(&project, "project", "", "only runs of this project")
	cmd.Flags().IntVarP(&limit, "limit", "n", 20, "how many")
	return cmd
}

func (a *app) printRuns(runs []client.Run) error {
	s := a.stdoutStyle()
	t := table{head: []string{"RUN", "STATE", "PROJECT", "NAME", "AGE", "TOOK", "BY"}}
	for _, r := range runs {
		state := s.mark(r.State) + " " + s.state(r.State)
		if r.Warnings {
			state += s.paint("33", " !")
		}
		t.add(strconv.FormatInt(r.Run, 10), state, r.Project, first(r.Name, "-"), age(r.CreatedAt), first(between(r.StartedAt, r.FinishedAt), "-"),
			strings.TrimPrefix(r.CreatedBy, "user:"))
	}
	return t.print(a)
}

// age is how long ago something was, roughly.
func age(at time.Time) string {
	d := time.Since(at)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(max(d, 0).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// pageSize is how many items are asked for at once, where all are wanted.
const pageSize = 200

// printEach writes each item as a line of JSON.
func printEach[T any](a *app, items []T) error {
	for _, item := range items {
		if err := a.printJSON(item); err != nil {
			return err
		}
	}
	return nil
}

// runArg is the run an argument names: its number, its run id, or the latest if there is no argument.
func runArg(cmd *cobra.Command, args []string) (string, error) {
	if len(args) == 0 {
		return "latest", nil
	}
	if _, err := strconv.ParseInt(args[0], 10, 64); err != nil && args[0] != "latest" && len(args[0]) != 36 {
		return "", usage(cmd, "%q is not a run: give its number, its run id, or latest", args[0])
	}
	return args[0], nil
}
