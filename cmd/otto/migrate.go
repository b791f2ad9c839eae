package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/migrations"
	"github.com/ottoci/otto/pipeline/show"
)

func newMigrate(a *app) *cobra.Command {
	var check, asJSON bool
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database of a fleet to this version's schema",
		Long: `Migrate changes the database of OTTO_DATABASE_URL to what this otto needs. It may run while servers of the version before
still do, and any number of times. otto up and otto run migrate their own.` +
			exitStatus(exitDone, "1  failed; with --check: the schema is not this version's"),
		Example: examples("OTTO_DATABASE_URL=postgres://otto@db/otto otto migrate", "otto migrate --check"),
		Args:    nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.fleetConfig()
			if err != nil {
				return err
			}
			if check {
				return a.checkSchema(cmd.Context(), cfg.databaseURL, asJSON)
			}
			result, err := migrations.Up(cmd.Context(), cfg.databaseURL)
			switch {
			case err != nil:
				return err
			case asJSON:
				return a.printJSON(map[string]any{"from": result.From, "to": result.To, "applied": result.Applied, "rebuilt": result.Rebuilt})
			case !result.Rebuilt:
				_, err = fmt.Fprintf(a.stdout, "the schema is at version %d: nothing to do\n", result.To)
			default:
				_, err = fmt.Fprintf(a.stdout, "migrated from version %d to %d: %s\n", result.From, result.To, show.Count(result.Applied, "migration"))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "change nothing, and say whether there is something to do")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) checkSchema(ctx context.Context, url string, asJSON bool) error {
	status, err := migrations.Check(ctx, url)
	if err != nil {
		return err
	}
	if asJSON {
		err = a.printJSON(map[string]any{"state": status.State, "database": status.Database, "binary": status.Binary})
	} else {
		_, err = fmt.Fprintf(a.stdout, "the schema is %s: the database is at version %d, this otto at %d\n", status.State, status.Database, status.Binary)
	}
	if err == nil && status.State != migrations.Current {
		return exit(codeFailed)
	}
	return err
}
