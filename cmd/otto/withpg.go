package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/db/local"
	"github.com/ottoci/otto/migrations"
)

func newWithPg(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "with-pg -- COMMAND…",
		Short:   "Run a command with a throwaway Postgres in DATABASE_URL, migrated",
		Hidden:  true,
		Example: examples(`otto with-pg -- psql -c "select * from otto_api.runs"`),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, "a command must be given")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.withPg(cmd.Context(), args) },
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func (a *app) withPg(ctx context.Context, args []string) error {
	dir, err := os.MkdirTemp("", "otto-with-pg-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // root's server runs as another user, who must get through
		return err
	}
	server, err := local.Start(ctx, local.Config{Dir: filepath.Join(dir, "pg"), Bin: a.env.pgBin, Log: a.log})
	if err != nil {
		return err
	}
	defer server.Stop()
	if _, err := migrations.Up(ctx, server.URL()); err != nil {
		return err
	}
	child := exec.CommandContext(ctx, args[0], args[1:]...)
	child.Stdin, child.Stdout, child.Stderr = a.stdin, a.stdout, a.stderr
	child.Env = append(slices.Clone(a.env.all), "DATABASE_URL="+server.URL())
	err = child.Run()
	var status *exec.ExitError
	if errors.As(err, &status) {
		return exit(status.ExitCode())
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", args[0], err)
	}
	return nil
}
