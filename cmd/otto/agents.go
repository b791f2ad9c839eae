package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/client"
)

func newAgents(a *app) *cobra.Command {
	var asJSON bool
	var state string
	cmd := &cobra.Command{
		Use:     "agents",
		Short:   "List agents, with what they do and offer",
		Long:    "Agents lists the agents that have enrolled." + exitStatus(exitDone, exitRefused),
		Example: examples("otto agents", "otto agents --state online --json"),
		Args:    nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onServer(cmd, func(ctx context.Context, c *connection) error {
				agents, err := client.All(func(cursor string) (client.Page[client.Agent], error) {
					return c.AgentList(ctx, client.AgentListOptions{State: state, Limit: pageSize, Cursor: cursor})
				})
				if err != nil {
					return err
				}
				if asJSON {
					return printEach(a, agents)
				}
				s := a.stdoutStyle()
				t := table{head: []string{"AGENT", "NAME", "STATE", "BUSY", "SEEN", "VERSION", "POOL", "OFFERS"}}
				for _, one := range agents {
					colour := map[string]string{"online": "32", "draining": "33", "disabled": "31"}[one.State]
					t.add(strconv.FormatInt(one.Agent, 10), one.Name, s.paint(first(colour, "2"), one.State),
						fmt.Sprintf("%d/%d", one.Busy, one.Capacity), age(one.SeenAt), one.Version, one.Pool, offersText(one.Offers))
				}
				return t.print(a)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print each agent as a line of JSON")
	cmd.Flags().StringVar(&state, "state", "", "only agents in this state: online, draining, offline or disabled")
	return cmd
}

func offersText(offers map[string]any) string {
	var parts []string
	for _, key := range sortedKeys(offers) {
		parts = append(parts, fmt.Sprintf("%s=%v", key, offers[key]))
	}
	return strings.Join(parts, " ")
}
