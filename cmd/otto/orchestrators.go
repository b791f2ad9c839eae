package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/client"
)

func newOrchestratorList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List orchestrators, with what they can start and what it costs",
		Long:    "List lists the orchestrators that have enrolled, with their templates." + exitStatus(exitDone, exitRefused),
		Example: examples("otto orchestrator list", "otto orchestrator list --json"),
		Args:    nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onServer(cmd, func(ctx context.Context, c *connection) error {
				all, err := client.All(func(cursor string) (client.Page[client.Orchestrator], error) {
					return c.OrchestratorList(ctx, client.ListOptions{Limit: pageSize, Cursor: cursor})
				})
				if err != nil {
					return err
				}
				if asJSON {
					return printEach(a, all)
				}
				return a.printOrchestrators(all)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print each orchestrator as a line of JSON")
	return cmd
}

func (a *app) printOrchestrators(all []client.Orchestrator) error {
	s := a.stdoutStyle()
	t := table{head: []string{"ORCHESTRATOR", "NAME", "STATE", "AGENTS", "AWARDS", "SEEN", "VERSION", "TEMPLATES"}}
	for _, o := range all {
		state := o.State
		if o.SuspendedUntil != nil {
			state = "suspended"
		}
		colour := map[string]string{"online": "32", "suspended": "33", "disabled": "31"}[state]
		var templates []string
		for _, one := range o.Templates {
			templates = append(templates, fmt.Sprintf("%s: %d at %g (%s)", one.Name, one.Instances, one.Price, offersText(one.Offers)))
		}
		t.add(strconv.FormatInt(o.Orchestrator, 10), o.Name, s.paint(first(colour, "2"), state), strconv.Itoa(o.Agents), strconv.Itoa(o.Awards),
			age(o.SeenAt), o.Version, strings.Join(templates, "; "))
	}
	return t.print(a)
}
