package main

import (
	"github.com/spf13/cobra"

	"github.com/ottoci/otto/pipeline"
)

func newSchema(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of Ottofiles",
		Long:  "Schema prints the JSON Schema of Ottofiles, with which an editor completes and checks them." + exitStatus(exitDone),
		Example: examples("otto schema > ottofile.schema.json",
			"# first line of an Ottofile: # yaml-language-server: $schema=ottofile.schema.json"),
		Args: nothing,
		RunE: func(*cobra.Command, []string) error {
			body, err := pipeline.Schema()
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(body)
			return err
		},
	}
}
