package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/pipeline/show"
)

// The formats of what validate prints.
const (
	formatText  = "text"
	formatJSON  = "json"
	formatSARIF = "sarif"
)

func newValidate(a *app) *cobra.Command {
	v := validation{app: a}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate [DIR|FILE|-]...",
		Short: "Check Ottofiles",
		Long: `Validate prints all problems of Ottofiles at once. No server is needed. A directory stands for the Ottofile in it, or, if it
has none, for all below it; - is standard input.` +
			exitStatus("0  no errors; warnings and hints may have been printed", "1  errors; with --strict, also warnings"),
		Example: examples("otto validate", "otto validate ci/*.yaml --strict", "otto validate --format sarif > otto.sarif",
			"otto validate --explain OTTO1012"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON && cmd.Flags().Changed("format") && v.format != formatJSON {
				return usage(cmd, "--json and --format %s exclude each other", v.format)
			}
			if asJSON {
				v.format = formatJSON
			}
			switch {
			case !slices.Contains([]string{formatText, formatJSON, formatSARIF}, v.format):
				return usage(cmd, "the format is %q: it must be text, json or sarif", v.format)
			case cmd.Flags().Changed("explain") && len(args) > 0:
				return usage(cmd, "--explain takes a code and no file, and %q is one", args[0])
			case cmd.Flags().Changed("explain"):
				return v.explainCode(cmd)
			}
			return v.run(cmd.Context(), args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&v.format, "format", formatText, "text, json (a line for each problem) or sarif (2.1.0, for code scanning)")
	f.BoolVar(&asJSON, "json", false, "the same as --format json")
	f.BoolVar(&v.strict, "strict", false, "answer 1 for warnings, too")
	f.StringVar(&v.explain, "explain", "", "print what a `CODE` means and how to fix it")
	return cmd
}

// validation is one call of validate.
type validation struct {
	*app
	format  string
	strict  bool
	explain string
}

func (v *validation) run(ctx context.Context, args []string) error {
	files, err := v.files(ctx, args)
	if err != nil {
		return err
	}
	var all pipeline.Diagnostics
	var plan *pipeline.Plan
	for _, file := range files {
		found, diagnostics := file.plan(pipeline.Facts{Tree: v.workingTree(ctx, file), Checking: true, Limits: v.limits})
		all, plan = append(all, diagnostics...), found
	}
	if err := v.print(files, plan, all); err != nil {
		return err
	}
	if n := count(all); n[pipeline.SeverityError] > 0 || v.strict && n[pipeline.SeverityWarning] > 0 {
		return exit(codeFailed)
	}
	return nil
}

// print writes what was found; plan is that of the last file.
func (v *validation) print(files []*ottofile, plan *pipeline.Plan, all pipeline.Diagnostics) error {
	switch {
	case v.format == formatSARIF:
		return v.printJSON(newSARIF(version(), all))
	case v.format == formatJSON:
		for _, d := range all {
			if err := v.printJSON(d); err != nil {
				return err
			}
		}
		return nil
	}
	fmt.Fprint(v.stdout, paintDiagnostics(v.stdoutStyle(), all))
	switch {
	case len(files) > 1:
		fmt.Fprintln(v.stdout, tally(len(files), all))
	case len(all) == 0:
		tasks := 0
		for _, s := range plan.Stages {
			tasks += len(s.Tasks)
		}
		fmt.Fprintf(v.stdout, "%s is valid: %s, %s\n", files[0].path, show.Count(len(plan.Stages), "stage"), show.Count(tasks, "task"))
	}
	if len(all) > 0 {
		v.say("%s otto validate --explain %s", v.stderrStyle().dim("hint:"), gravest(all).Code)
	}
	return nil
}

// count counts problems by severity.
func count(all pipeline.Diagnostics) map[pipeline.Severity]int {
	n := map[pipeline.Severity]int{}
	for _, d := range all {
		n[d.Severity]++
	}
	return n
}

// tally is what came of several files.
func tally(files int, all pipeline.Diagnostics) string {
	parts, n := []string{show.Count(files, "file")}, count(all)
	for _, s := range severities() {
		if n[s] > 0 {
			parts = append(parts, show.Count(n[s], string(s)))
		}
	}
	if len(parts) == 1 {
		parts = append(parts, "no problems")
	}
	return strings.Join(parts, ", ")
}

// severities are all of them, the gravest first.
func severities() []pipeline.Severity {
	return []pipeline.Severity{pipeline.SeverityError, pipeline.SeverityWarning, pipeline.SeverityHint}
}

// gravest is the first of the gravest problems; there is at least one.
func gravest(all pipeline.Diagnostics) pipeline.Diagnostic {
	for _, s := range severities() {
		if i := slices.IndexFunc(all, func(d pipeline.Diagnostic) bool { return d.Severity == s }); i >= 0 {
			return all[i]
		}
	}
	return all[0]
}

// printDiagnostics tells a person what the compiler has to say.
func (a *app) printDiagnostics(diagnostics pipeline.Diagnostics) {
	fmt.Fprint(a.stderr, paintDiagnostics(a.stderrStyle(), diagnostics))
}
