package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/client"
)

func newPool(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pool",
		Short: "Make and list pools of agents, and say who may use them",
		Long: `Pool manages groups of agents. An agent is in the pool of its enrolment token, or in default; a task asks for another one with
the key pool. Unless a pool is open, only projects that were allowed to use it may.`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPoolCreate(a), newPoolList(a), newPoolAllow(a), newPoolDeny(a))
	return cmd
}

func newPoolCreate(a *app) *cobra.Command {
	var open, asJSON bool
	cmd := &cobra.Command{
		Use:     "create POOL",
		Short:   "Make a pool",
		Long:    "Create makes a pool. Unless it is open, no project may use it before otto pool allow." + exitStatus(exitDone, exitRefused),
		Example: examples("otto pool create gpu", "otto pool create spare --open"),
		Args:    poolArgs("POOL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onPool(cmd, asJSON, func(ctx context.Context, c *connection) (client.Pool, error) {
				return c.PoolCreate(ctx, client.PoolCreate{Pool: args[0], Open: open})
			})
		},
	}
	cmd.Flags().BoolVar(&open, "open", false, "every project may use it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the pool as JSON")
	return cmd
}

func newPoolAllow(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "allow POOL PROJECT",
		Short:   "Let a project use a pool",
		Long:    "Allow lets a project use a pool that is not open. A project that is new is made." + exitStatus(exitDone, exitRefused),
		Example: examples("otto pool allow gpu vision"),
		Args:    poolArgs("POOL", "PROJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onPool(cmd, asJSON, func(ctx context.Context, c *connection) (client.Pool, error) {
				return c.PoolAllow(ctx, args[0], args[1])
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the pool as JSON")
	return cmd
}

func newPoolDeny(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "deny POOL PROJECT",
		Short:   "Take a pool from a project",
		Long:    "Deny takes a pool that is not open from a project. What it has at work there goes on; what is ready waits." + exitStatus(exitDone, exitRefused),
		Example: examples("otto pool deny gpu vision"),
		Args:    poolArgs("POOL", "PROJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onPool(cmd, asJSON, func(ctx context.Context, c *connection) (client.Pool, error) {
				return c.PoolDeny(ctx, args[0], args[1])
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the pool as JSON")
	return cmd
}

func poolArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usage(cmd, "it takes %s", strings.Join(names, " and "))
		}
		return nil
	}
}

// onPool changes a pool and prints it.
func (a *app) onPool(cmd *cobra.Command, asJSON bool, do func(context.Context, *connection) (client.Pool, error)) error {
	return a.onServer(cmd, func(ctx context.Context, c *connection) error {
		pool, err := do(ctx, c)
		if err != nil {
			return err
		}
		if asJSON {
			return a.printJSON(pool)
		}
		_, err = fmt.Fprintf(a.stdout, "pool %s is for %s\n", pool.Pool, poolUsers(pool))
		return err
	})
}

func poolUsers(p client.Pool) string {
	switch {
	case p.Open:
		return "all projects"
	case len(p.Projects) == 0:
		return "no project"
	}
	return strings.Join(p.Projects, ", ")
}

func newPoolList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List pools, with who may use them",
		Long:    "List prints all pools." + exitStatus(exitDone, exitRefused),
		Example: examples("otto pool list", "otto pool list --json"),
		Args:    nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onServer(cmd, func(ctx context.Context, c *connection) error {
				pools, err := client.All(func(cursor string) (client.Page[client.Pool], error) {
					return c.PoolList(ctx, client.ListOptions{Limit: pageSize, Cursor: cursor})
				})
				if err != nil {
					return err
				}
				if asJSON {
					return printEach(a, pools)
				}
				t := table{head: []string{"POOL", "AGENTS", "READY", "MADE", "FOR"}}
				for _, one := range pools {
					t.add(one.Pool, strconv.Itoa(one.AgentsOnline), strconv.Itoa(one.TasksReady), age(one.CreatedAt), poolUsers(one))
				}
				return t.print(a)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print each pool as a line of JSON")
	return cmd
}
