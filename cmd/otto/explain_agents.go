package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/pipeline/show"
)

// someAgents is how many agents are named.
const someAgents = 5

// seat is what decides which agents can take a task.
type seat struct{ pool, requires string }

func seatOf(t *pipeline.Task) seat {
	return seat{first(t.Pool, client.DefaultPool), show.RequiresText(t.Requires)}
}

// agentsFor asks a server which of the agents that are online can take tasks with each of a plan's requirements, which it
// judges as it does when it hands out tasks. Whether a project may use a pool is not asked: a plan is of no project.
func agentsFor(ctx context.Context, c *connection, plan *pipeline.Plan) (map[seat]string, error) {
	online, err := onlineAgents(ctx, c, nil)
	if err != nil {
		return nil, err
	}
	answers := map[seat]string{}
	for _, s := range plan.Stages {
		for _, t := range s.Tasks {
			key := seatOf(&t)
			if _, known := answers[key]; known {
				continue
			}
			fitting := online
			if len(t.Requires) > 0 {
				if fitting, err = onlineAgents(ctx, c, t.Requires); err != nil {
					return nil, err
				}
			}
			fitting = slices.DeleteFunc(slices.Clone(fitting), func(a client.Agent) bool { return a.Pool != key.pool })
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
