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

// explainFlags say what to show of a plan, and how.
type explainFlags struct {
	json, origins, agents bool
	diff, exitCode        bool
	diffParams            []string
	why, graph, shell     string
	facts                 factFlags
}

func newExplain(a *app) *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain [DIR|FILE|COMMIT|RUN] | --diff A [B]",
		Short: "Show what would run, what would not, and why",
		Long: `Explain prints a plan: stages, tasks and steps in the order in which they run, what does not run or is decided later, and
what decides that. Nothing runs. What it shows is what otto run executes: the digest is the plan's.

The plan is that of the Ottofile in a directory, of a file, of a commit (HEAD~1, or HEAD~1:ci/Ottofile.yaml), or of a run on
the server (its number, or latest). Without an Ottofile it is what conventions propose for the tree. Only runs and --agents
need a server.

● runs   ◐ is decided later   ○ does not run` +
			exitStatus(exitDone, "1  the Ottofile has errors; with --exit-code: the plans differ"),
		Example: examples("otto explain", "otto explain --event push --branch main --changed 'web/**'", "otto explain --why build.timeout", "otto explain --diff HEAD", "otto explain --shell build | sh",
			"otto explain --graph svg > plan.svg", "otto explain latest"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd, args); err != nil {
				return err
			}
			if f.diff || len(f.diffParams) > 0 {
				return a.explainDiff(cmd, &f, args)
			}
			return a.withExplained(cmd, &f, args, func(ctx context.Context, x *explained) error { return a.explain(ctx, &f, x) })
		},
	}
	f.add(cmd)
	return cmd
}

func (f *explainFlags) add(cmd *cobra.Command) {
	set := cmd.Flags()
	set.BoolVar(&f.json, "json", false, "print the plan's canonical bytes, which its digest is of; with --why and --diff, lines of JSON")
	set.BoolVarP(&f.origins, "origins", "v", false, "print every value, and where each comes from")
	set.StringVar(&f.why, "why", "", "print the origin of one `value`: build.timeout, unit.steps.1.sh, or a JSON pointer")
	set.StringVar(&f.graph, "graph", "", "draw the plan as `svg or mermaid`")
	set.StringVar(&f.shell, "shell", "", "print a `task` as a shell script to run by hand")
	set.BoolVar(&f.agents, "agents", false, "ask the server which agents that are online can take each task")
	set.BoolVar(&f.diff, "diff", false, "compare plan A with plan B, or with the one here")
	set.StringArrayVar(&f.diffParams, "diff-param", nil, "compare with the plan that the parameter `name=value` gives; may be repeated")
	f.facts.add(cmd)
	set.BoolVar(&f.exitCode, "exit-code", false, "with --diff: exit with 1 if the plans differ")
}

// check refuses what does not go together.
func (f *explainFlags) check(cmd *cobra.Command, args []string) error {
	views := words(map[bool]string{true: "--diff"}[f.diff], map[bool]string{true: "--diff-param"}[len(f.diffParams) > 0])
	for _, name := range []string{"why", "graph", "shell"} {
		if cmd.Flags().Changed(name) {
			views = append(views, "--"+name)
		}
	}
	given := f.facts.any()
	switch {
	case given != "" && slices.ContainsFunc(args, func(arg string) bool { return meansRun([]string{arg}) }):
		return usage(cmd, "--%s does not go with a run: its plan is made", given)
	case len(views) > 1:
		return usage(cmd, "%s and %s do not go together", views[0], views[1])
	case f.graph != "" && f.graph != graphSVG && f.graph != graphMermaid:
		return usage(cmd, "--graph is %q: it must be svg or mermaid", f.graph)
	case f.exitCode && !f.diff && len(f.diffParams) == 0:
		return usage(cmd, "--exit-code belongs to --diff")
	case f.diff && len(args) == 0:
		return usage(cmd, "--diff needs what to compare with, such as HEAD")
	case f.diff:
		return atMost(2, "plans")(cmd, args)
	}
	return atMost(1, "directory, file, commit or run")(cmd, args)
}

// The pictures of a plan.
const (
	graphSVG     = "svg"
	graphMermaid = "mermaid"
)

// explain prints a plan in the way that the flags say.
func (a *app) explain(ctx context.Context, f *explainFlags, x *explained) (err error) {
	var text string
	switch {
	case f.why != "":
		return a.explainWhy(x.plan, f)
	case f.shell != "":
		if text, err = show.Script(x.plan, f.shell, x.digest); err != nil {
			return withHint(err, "otto explain lists the tasks")
		}
	case f.graph == graphSVG:
		text = show.SVG(x.plan)
	case f.graph == graphMermaid:
		text = show.Mermaid(x.plan)
	case f.json:
		text = string(x.body) + "\n"
	default:
		v := outlineView{Builder: &strings.Builder{}, style: a.stdoutStyle(), width: a.stdoutWidth(), explained: x, all: f.origins}
		if f.agents {
			if v.agents, err = agentsFor(ctx, x.server, x.plan); err != nil {
				return err
			}
		}
		v.write()
		text = v.String()
	}
	_, err = fmt.Fprint(a.stdout, text)
	return err
}

// explainWhy prints values of the plan with their origins.
func (a *app) explainWhy(plan *pipeline.Plan, f *explainFlags) error {
	reasons, err := show.Why(plan, f.why)
	if err != nil {
		return withHint(err, "otto explain --why / lists all")
	}
	style := a.stdoutStyle()
	for _, r := range reasons {
		if f.json {
			err = a.printJSON(r)
		} else {
			_, err = fmt.Fprintf(a.stdout, "%s = %s  %s\n", r.Pointer, r.Value, style.dim(show.OriginText(r.Origin)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
