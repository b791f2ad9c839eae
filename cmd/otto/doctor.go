package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/agent/isolation"
)

func newDoctor(a *app) *cobra.Command {
	var asJSON bool
	var want string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Try to escape from each level of isolation, and say what this machine lacks",
		Long: `Doctor starts a program in each level of isolation that tries to get out in every way that it knows, and says which levels held.
An agent does the same when it starts, and offers the best level. Run it as the user that the agent runs as.` +
			exitStatus("0  it has tried, and what --isolation asks for holds", "1  that does not hold, or nothing could be tried", "64 wrong usage"),
		Example: examples("otto agent doctor", "sudo otto agent doctor --isolation S3 --json"),
		Args:    nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level, err := levelOf(first(want, isolation.S0.String()))
			if err != nil {
				return usage(cmd, "--isolation: %w", err)
			}
			report, err := a.examine(cmd)
			if err != nil {
				return err
			}
			if err := a.printReport(report, asJSON); err != nil {
				return err
			}
			if !report.Holds(max(level, isolation.S0)) {
				return fmt.Errorf("isolation %v does not hold on this machine", level)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	cmd.Flags().StringVar(&want, "isolation", "", "the `level` that has to hold: S1, S2 or S3")
	return cmd
}

// examine tries everything on this machine.
func (a *app) examine(cmd *cobra.Command) (isolation.Report, error) {
	relay, err := isolation.LookRelay()
	if err != nil {
		return isolation.Report{}, err
	}
	dir, err := os.MkdirTemp("", "otto-doctor-")
	if err != nil {
		return isolation.Report{}, fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	host, err := isolation.Open(isolation.Settings{WorkDir: dir, Name: fmt.Sprintf("doctor-%d", os.Getpid()), Path: a.env.path, Relay: relay})
	if err != nil {
		return isolation.Report{}, err
	}
	defer host.Close()
	return host.Doctor(cmd.Context()), nil
}

func (a *app) printReport(r isolation.Report, asJSON bool) error {
	if asJSON {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "%s\n", line)
		return err
	}
	s := a.stdoutStyle()
	levels := table{head: []string{"LEVEL", "HOLDS", "KEEPS BACK"}}
	for _, f := range r.Levels {
		holds := s.paint("32", "yes")
		if !f.Holds {
			holds = s.paint("31", "no")
		}
		levels.add(f.Level, holds, f.Keeps)
		for _, line := range words(f.Missing) {
			levels.add("", "", s.dim("missing: "+line))
		}
		for _, line := range words(f.Remedy) {
			levels.add("", "", s.dim("remedy:  "+line))
		}
	}
	levels.add("S4", s.dim("–"), "a container: for tasks with an image, where the agent has an engine")
	if err := levels.print(a); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(a.stdout); err != nil {
		return err
	}
	limits := table{head: []string{"LIMIT", "KEPT BY"}}
	for _, b := range r.Limits {
		limits.add(b.Name, b.Mechanism)
	}
	return limits.print(a)
}
