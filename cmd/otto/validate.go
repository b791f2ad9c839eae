package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/pipeline"
)

func newValidate(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "validate [DIR|FILE]",
		Short:   "Check an Ottofile",
		Long:    `Validate prints all problems of an Ottofile at once. No server is needed.` + exitStatus("0  no errors; warnings and hints may have been printed", "1  errors"),
		Example: examples("otto validate", "otto validate ci/Ottofile.yaml --json"),
		Args:    atMost(1, "directory or file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := a.findOrPropose(cmd.Context(), args)
			if err != nil {
				return err
			}
			if file.proposal != nil {
				return withHint(fmt.Errorf("there is no Ottofile in %s", absolute(file.dir)), "otto init writes one for what is there")
			}
			plan, diagnostics := file.compile()
			if asJSON {
				for _, d := range diagnostics {
					if err := a.printJSON(d); err != nil {
						return err
					}
				}
			} else {
				fmt.Fprint(a.stdout, paintDiagnostics(a.stdoutStyle(), diagnostics))
			}
			if plan == nil {
				return exit(codeFailed)
			}
			if !asJSON && len(diagnostics) == 0 {
				tasks := 0
				for _, s := range plan.Stages {
					tasks += len(s.Tasks)
				}
				fmt.Fprintf(a.stdout, "%s is valid: %s, %s\n", file.path, plural(len(plan.Stages), "stage"), plural(tasks, "task"))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print each problem as a line of JSON")
	return cmd
}

// printDiagnostics tells a person what the compiler has to say.
func (a *app) printDiagnostics(diagnostics pipeline.Diagnostics) {
	fmt.Fprint(a.stderr, paintDiagnostics(a.stderrStyle(), diagnostics))
}
