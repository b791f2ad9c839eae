package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/pipeline/show"
)

func newWhy(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "why [RUN] TASK",
		Short: "Say why a task does not run",
		Long: `Why prints the tree of what holds a task back: the stage, task or group that it waits for; and for a task that is ready,
what it requires and each agent does not offer, and who has what it would need. The rules that hand out tasks say so.
TASK is its name in the run, by default the latest; or, alone, its number.` + exitStatus(exitDone, exitRefused),
		Example: examples("otto why deploy", "otto why 3 deploy", "otto why 117 --json"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return usage(cmd, "a task must be given, and at most a run before it")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := runArg(cmd, args[:len(args)-1])
			if err != nil {
				return err
			}
			return a.onServer(cmd, func(ctx context.Context, c *connection) error {
				task, err := findTask(ctx, c, run, args)
				if err != nil {
					return err
				}
				why, err := c.TaskWhy(ctx, task)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(why)
				}
				return a.printWhy(why)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the tree as JSON")
	return cmd
}

// findTask gives the number of a task: it may be given itself, or the name of a task in a run.
func findTask(ctx context.Context, c *connection, run string, args []string) (int64, error) {
	name := args[len(args)-1]
	if n, err := strconv.ParseInt(name, 10, 64); err == nil && len(args) == 1 {
		return n, nil
	}
	detail, err := c.RunShow(ctx, run)
	if err != nil {
		return 0, err
	}
	var names []string
	for _, stage := range detail.Stages {
		for _, task := range stage.Tasks {
			if task.Name == name {
				return task.Task, nil
			}
			names = append(names, task.Name)
		}
	}
	return 0, withHint(fmt.Errorf("run %d has no task %q", detail.Run.Run, name), "its tasks are %s", strings.Join(names, ", "))
}

func (a *app) printWhy(why client.TaskWhy) error {
	s := a.stdoutStyle()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s of run %d is %s\n", s.bold(why.Name), s.dim(fmt.Sprintf("(task %d)", why.Task)), why.Run, s.state(why.State))
	if len(why.Requires) > 0 && len(why.Blockers) > 0 {
		fmt.Fprintf(&b, "it requires %s\n", show.RequiresText(why.Requires))
	}
	if len(why.Blockers) == 0 {
		text := "nothing holds it back"
		if why.State == "ready" || why.State == "scheduled" {
			text += "; it waits for " + why.Text
		}
		fmt.Fprintln(&b, text)
	}
	if why.Ahead > 0 {
		fmt.Fprintf(&b, "%d of its project's tasks stand before it\n", why.Ahead)
	}
	writeBlockers(&b, s, why.Blockers, "")
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// writeBlockers draws a tree, each with its hint below it.
func writeBlockers(b *strings.Builder, s style, blockers []client.Blocker, indent string) {
	for i, x := range blockers {
		branch, below := "├─ ", "│  "
		if i == len(blockers)-1 {
			branch, below = "└─ ", "   "
		}
		fmt.Fprintf(b, "%s%s%s\n", s.dim(indent+branch), s.dim(x.Kind+": "), x.Text)
		if x.Hint != "" {
			fmt.Fprintf(b, "%s%s\n", s.dim(indent+below), s.dim("hint: "+x.Hint))
		}
		writeBlockers(b, s, x.Blockers, indent+below)
	}
}
