package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/pipeline/show"
)

// explainDiff compares two plans, and prints a line for each effect.
func (a *app) explainDiff(cmd *cobra.Command, f *explainFlags, args []string) error {
	compare := func(ctx context.Context, c *connection) error {
		before, after, err := a.bothPlans(ctx, c, f, args)
		if err != nil {
			return err
		}
		effects := show.Diff(before.plan, after.plan)
		if f.json {
			if err := printEach(a, effects); err != nil {
				return err
			}
		} else {
			d := diffView{style: a.stdoutStyle()}
			d.write(effects, before, after)
			if _, err := fmt.Fprint(a.stdout, d.String()); err != nil {
				return err
			}
		}
		if f.exitCode && len(effects) > 0 {
			return exit(codeFailed)
		}
		return nil
	}
	for i := range args {
		if meansRun(args[i : i+1]) {
			return a.onServer(cmd, compare)
		}
	}
	return compare(cmd.Context(), nil)
}

// bothPlans finds what is compared: A with B, or with the Ottofile here; or what some parameters make of the same file.
func (a *app) bothPlans(ctx context.Context, c *connection, f *explainFlags, args []string) (before, after *explained, err error) {
	left, right, given := args, args, f.facts
	if f.diff {
		left, right = args[:1], args[1:]
	}
	if before, err = a.planOn(ctx, c, &f.facts, left); err != nil {
		return nil, nil, err
	}
	given.params = overlaid(f.facts.params, f.diffParams)
	after, err = a.planOn(ctx, c, &given, right)
	return before, after, err
}

// overlaid are parameters, of which others replace those of their names.
func overlaid(params, others []string) []string {
	return append(slices.DeleteFunc(slices.Clone(params), func(param string) bool {
		name, _, _ := strings.Cut(param, "=")
		return slices.ContainsFunc(others, func(other string) bool { return strings.HasPrefix(other, name+"=") })
	}), others...)
}

// diffView writes effects for people.
type diffView struct {
	strings.Builder
	style style
}

func (d *diffView) write(effects []show.Effect, before, after *explained) {
	switch {
	case before.digest == after.digest:
		fmt.Fprintf(d, "both are the same plan  %s\n", d.style.dim(after.digest))
		return
	case len(effects) == 0:
		d.WriteString("both do the same\n")
		return
	}
	fmt.Fprintf(d, "%s  %s\n%s  %s\n\n", d.style.dim("before"), d.style.dim(before.digest), d.style.dim("after "), d.style.dim(after.digest))
	for _, e := range effects {
		d.effect(e)
	}
}

func (d *diffView) effect(e show.Effect) {
	mark, colour := "~", "33"
	switch e.Kind {
	case show.EffectAdded:
		mark, colour = "+", "32"
	case show.EffectRemoved:
		mark, colour = "-", "31"
	case show.EffectRuns:
		mark, colour = "●", "36"
	case show.EffectOmitted:
		mark, colour = "○", "2"
	case show.EffectLater:
		mark, colour = "◐", "33"
	}
	text := show.EffectText(e)
	before, isText := e.Before.(string)
	after, areBoth := e.After.(string)
	fmt.Fprintf(d, "%s %s\n", d.style.paint(colour, mark), text)
	if e.Kind == show.EffectChanged && isText && areBoth && strings.Contains(before+after, "\n") {
		for _, line := range show.LinesDiff(before, after) {
			d.WriteString("    " + d.style.paint(map[byte]string{'-': "31", '+': "32"}[line[0]], line) + "\n")
		}
	}
}
