package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

func newToken(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke tokens",
		Long:  "Token manages the credentials of people, programs and agents.",
		Args:  knownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTokenCreate(a), newTokenList(a), newTokenRevoke(a))
	return cmd
}

// tokenFlags are those of otto token create.
type tokenFlags struct {
	role, name      string
	pool            string
	expires         time.Duration
	bootstrap, json bool
}

func newTokenCreate(a *app) *cobra.Command {
	var f tokenFlags
	cmd := &cobra.Command{
		Use:   "create --role ROLE",
		Short: "Make a token and print its secret, this once",
		Long: `Create prints the secret of a new token; only its hash is stored. The roles are reader, writer and admin; and, for one use,
enrol for an agent and enrol-orchestrator for an orchestrator. --bootstrap makes an admin's token directly in the database
of OTTO_DATABASE_URL, for a fleet that has none yet.` + exitStatus(exitDone, exitRefused),
		Example: examples("otto token create --role writer --name ci", "otto token create --role enrol", "otto token create --role enrol --pool gpu", "OTTO_DATABASE_URL=postgres://otto@db/otto otto token create --bootstrap"),
		Args:    nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case f.bootstrap && f.role != "" && f.role != "admin":
				return usage(cmd, "--bootstrap makes an admin's token, not one of role %s", f.role)
			case f.bootstrap && f.pool != "":
				return usage(cmd, "--bootstrap makes an admin's token, which has no pool")
			case f.bootstrap:
				return a.bootstrapToken(cmd.Context(), f)
			case f.role == "":
				return usage(cmd, "--role is missing: reader, writer, admin, enrol or enrol-orchestrator")
			case f.pool != "" && f.role != "enrol":
				return usage(cmd, "--pool is for a token of role enrol, not one of role %s", f.role)
			}
			return a.onServer(cmd, func(ctx context.Context, c *connection) error {
				created, err := c.TokenCreate(ctx, client.TokenCreate{Name: first(f.name, f.role), Role: f.role, Pool: f.pool, ExpiresMS: f.expires.Milliseconds()})
				if err != nil {
					return err
				}
				if f.json {
					return a.printJSON(created)
				}
				_, err = fmt.Fprintln(a.stdout, created.Secret)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&f.role, "role", "", "what it may do: reader, writer, admin, enrol or enrol-orchestrator")
	cmd.Flags().StringVar(&f.name, "name", "", "what it is for; the role if absent")
	cmd.Flags().StringVar(&f.pool, "pool", "", "the pool of the agent that enrols with it; default if absent")
	cmd.Flags().DurationVar(&f.expires, "expires", 0, "how long it is valid; an enrol token lives 1h if absent, others for ever")
	cmd.Flags().BoolVar(&f.bootstrap, "bootstrap", false, "make an admin's token directly in the database")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the token as JSON")
	return cmd
}

// bootstrapToken makes the first token of a fleet, for which there is nobody to ask.
func (a *app) bootstrapToken(ctx context.Context, f tokenFlags) error {
	cfg, err := a.fleetConfig()
	if err != nil {
		return err
	}
	p := &plane{cfg: cfg, failed: make(chan error, 1), dbURL: cfg.databaseURL}
	defer p.Stop()
	if err := errors.Join(p.startSchema(ctx)); err != nil {
		return err
	}
	if err := p.startPool(ctx); err != nil {
		return err
	}
	secret, err := createToken(ctx, db.New(p.pool), "user", "admin", first(f.name, "bootstrap"))
	if err != nil {
		return err
	}
	if f.json {
		return a.printJSON(map[string]string{"role": "admin", "secret": secret})
	}
	_, err = fmt.Fprintln(a.stdout, secret)
	return err
}

func newTokenList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List tokens, without their secrets",
		Long:    "List prints all tokens." + exitStatus(exitDone, exitRefused),
		Example: examples("otto token list"),
		Args:    nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onServer(cmd, func(ctx context.Context, c *connection) error {
				tokens, err := client.All(func(cursor string) (client.Page[client.Token], error) {
					return c.TokenList(ctx, client.ListOptions{Limit: pageSize, Cursor: cursor})
				})
				if err != nil {
					return err
				}
				if asJSON {
					return printEach(a, tokens)
				}
				t := table{head: []string{"TOKEN", "NAME", "ROLE", "MADE", "USED", "STATE"}}
				for _, one := range tokens {
					t.add(strconv.FormatInt(one.Token, 10), one.Name, one.Role, age(one.CreatedAt), ageOrNever(one.LastUsedAt), tokenState(one))
				}
				return t.print(a)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print each token as a line of JSON")
	return cmd
}

func ageOrNever(at *time.Time) string {
	if at == nil {
		return "never"
	}
	return age(*at)
}

func tokenState(t client.Token) string {
	switch {
	case t.RevokedAt != nil:
		return "revoked"
	case t.ExpiresAt != nil && t.ExpiresAt.Before(time.Now()):
		return "expired"
	case t.ExpiresAt != nil:
		return "until " + when(t.ExpiresAt)
	}
	return "valid"
}

func newTokenRevoke(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke TOKEN",
		Short:   "Revoke a token",
		Long:    "Revoke makes a token worthless, on every server within 5 s. An agent loses its work with its token." + exitStatus(exitDone, exitRefused),
		Example: examples("otto token list", "otto token revoke 7"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage(cmd, "one token must be given, by its number")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return withHint(usage(cmd, "%q is not the number of a token", args[0]), "otto token list shows numbers")
			}
			return a.onServer(cmd, func(ctx context.Context, c *connection) error {
				revoked, err := c.TokenRevoke(ctx, number)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.stdout, "token %d (%s) is revoked\n", revoked.Token, revoked.Name)
				return err
			})
		},
	}
}
