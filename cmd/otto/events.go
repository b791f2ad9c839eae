package main

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/client"
)

func newEvents(a *app) *cobra.Command {
	var asJSON, follow bool
	var after string
	cmd := &cobra.Command{
		Use:     "events [RUN]",
		Short:   "Print what has happened, one line for each transition",
		Long:    "Events prints the transitions of a run, or without RUN those of everything." + exitStatus(exitDone, exitRefused),
		Example: examples("otto events 3", "otto events -f --json | jq -c '{kind, run}'"),
		Args:    atMost(1, "run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			run := ""
			if len(args) > 0 {
				var err error
				if run, err = runArg(cmd, args); err != nil {
					return err
				}
			}
			return a.onServer(cmd, func(ctx context.Context, c *connection) error {
				if follow && !c.canWork() {
					a.say("otto: no server runs here, so nothing will follow")
					follow = false
				}
				print := func(e client.Event) error { return a.printEvent(e, asJSON) }
				if !follow {
					return pastEvents(ctx, c, run, after, print)
				}
				return followEvents(ctx, c, run, after, print)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print each event as a line of JSON")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens next")
	cmd.Flags().StringVar(&after, "after", "", "only events after the one of this `id`")
	return cmd
}

// followEvents prints events until the run is over, or for ever.
func followEvents(ctx context.Context, c *connection, run, after string, print func(client.Event) error) error {
	if run == "" {
		return c.EventsFollow(ctx, after, print)
	}
	return c.RunEvents(ctx, run, after, print)
}

func (a *app) printEvent(e client.Event, asJSON bool) error {
	if asJSON {
		return a.printJSON(e)
	}
	s := a.stdoutStyle()
	var words []string
	if e.Run != 0 {
		words = append(words, fmt.Sprintf("run %d", e.Run))
	}
	if name := first(e.Name, e.Stage); name != "" {
		words = append(words, name)
	}
	if e.Step != nil {
		words = append(words, fmt.Sprintf("step %d", *e.Step+1))
	}
	words = append(words, s.dim(dataText(e.Data)))
	_, verb, _ := strings.Cut(e.Kind, ".")
	kind := s.paint(stateColour(verb), e.Kind)
	line := fmt.Sprintf("%s  %s%s  %s", s.dim(e.At.Local().Format(time.TimeOnly)), kind, strings.Repeat(" ", max(0, 18-len(e.Kind))), strings.Join(words, "  "))
	_, err := fmt.Fprintln(a.stdout, strings.TrimRight(line, " "))
	return err
}

func dataText(data map[string]any) string {
	var parts []string
	for key, value := range data {
		parts = append(parts, fmt.Sprintf("%s=%v", key, value))
	}
	sort.Strings(parts)
	return strings.Join(parts, " ")
}

// pastEvents prints what has happened so far.
func pastEvents(ctx context.Context, c *connection, run, after string, print func(client.Event) error) error {
	list := c.EventList
	if run != "" {
		list = func(ctx context.Context, o client.EventListOptions) (client.Page[client.Event], error) {
			return c.RunEventList(ctx, run, o)
		}
	}
	for {
		page, err := list(ctx, client.EventListOptions{After: after, Limit: pageSize})
		if err != nil {
			return err
		}
		for _, e := range page.Items {
			if err := print(e); err != nil {
				return err
			}
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}
