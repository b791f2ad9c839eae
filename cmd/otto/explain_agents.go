package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/pipeline/show"
)

// someAgents is how many agents are named.
const someAgents = 5

// agentsFor asks a server which of the agents that are online can take tasks with each of a plan's requirements, which it
// judges as it does when it hands out tasks. The answers are by the text of the requirements.
func agentsFor(ctx context.Context, c *connection, plan *pipeline.Plan) (map[string]string, error) {
	online, err := onlineAgents(ctx, c, nil)
	if err != nil {
		return nil, err
	}
	answers := map[string]string{}
	for _, s := range plan.Stages {
		for _, t := range s.Tasks {
			key := show.RequiresText(t.Requires)
			if _, known := answers[key]; known {
				continue
			}
			fitting := online
			if len(t.Requires) > 0 {
				if fitting, err = onlineAgents(ctx, c, t.Requires); err != nil {
					return nil, err
				}
			}
			answers[key] = agentsText(fitting, len(online))
		}
	}
	return answers, nil
}

func onlineAgents(ctx context.Context, c *connection, requires map[string]any) ([]client.Agent, error) {
	return client.All(func(cursor string) (client.Page[client.Agent], error) {
		return c.AgentList(ctx, client.AgentListOptions{State: "online", Requires: requires, Limit: pageSize, Cursor: cursor})
	})
}

func agentsText(fitting []client.Agent, online int) string {
	switch {
	case online == 0:
		return "none is online"
	case len(fitting) == 0:
		return fmt.Sprintf("none of %d that are online can take it", online)
	}
	names := make([]string, 0, someAgents)
	for _, agent := range fitting[:min(len(fitting), someAgents)] {
		names = append(names, agent.Name)
	}
	text := fmt.Sprintf("%d of %d that are online: %s", len(fitting), online, strings.Join(names, ", "))
	if more := len(fitting) - someAgents; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
