package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/pipeline"
)

func newExplain(a *app) *cobra.Command {
	var asJSON bool
	var why string
	cmd := &cobra.Command{
		Use:   "explain [DIR|FILE]",
		Short: "Show what would run, and why",
		Long: `Explain prints the plan of an Ottofile: stages, tasks and steps in the order in which they run, and where each value
comes from. Nothing runs, and no server is needed. What it shows is what otto run executes: the digest is the plan's.
Without an Ottofile it shows what conventions propose for the tree.` +
			exitStatus(exitDone, "1  the Ottofile has errors"),
		Example: examples("otto explain", "otto explain --why /stages/0/tasks/0/timeout_ms", "otto explain --json | jq .stages"),
		Args:    atMost(1, "directory or file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := a.findOrPropose(cmd.Context(), args)
			if err != nil {
				return err
			}
			a.sayProposal(file)
			plan, diagnostics := file.compile()
			a.printDiagnostics(diagnostics)
			if plan == nil {
				return exit(codeFailed)
			}
			body, digest, err := plan.Encode()
			switch {
			case err != nil:
				return err
			case cmd.Flags().Changed("why"):
				return a.explainWhy(body, plan, why, a.reasonWriter(asJSON))
			case asJSON:
				_, err = fmt.Fprintf(a.stdout, "%s\n", body)
				return err
			}
			x := explainer{style: a.stdoutStyle(), plan: plan}
			x.text(file.name, digest)
			_, err = fmt.Fprint(a.stdout, x.String())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the plan's canonical bytes, which its digest is of; with --why, lines of JSON")
	cmd.Flags().StringVar(&why, "why", "", "print the origin of one value, by its JSON `pointer`")
	return cmd
}

// explainer writes a plan for people: each value once, its origin beside it.
type explainer struct {
	strings.Builder
	style style
	plan  *pipeline.Plan
}

// originColumn is where origins stand, if the value leaves room.
const originColumn = 56

func (x *explainer) text(file, digest string) {
	fmt.Fprintf(x, "%s  %s\n", x.style.bold(first(x.plan.Name, file)), x.style.dim(digest))
	for i, s := range x.plan.Stages {
		x.stage(fmt.Sprintf("/stages/%d", i), s)
	}
}

func (x *explainer) stage(ptr string, s pipeline.Stage) {
	x.WriteByte('\n')
	words := ""
	if len(s.Tasks) > 1 {
		words = ", " + plural(len(s.Tasks), "task") + ", " + string(s.Mode)
	}
	if s.Always {
		words += ", always"
	}
	x.line(0, x.style.bold("stage "+s.Name)+words, ptr+"/name")
	for i, t := range s.Tasks {
		at := fmt.Sprintf("%s/tasks/%d", ptr, i)
		x.line(1, "task "+x.style.bold(t.Name), at+"/name")
		x.task(at, t)
	}
}

func (x *explainer) task(ptr string, t pipeline.Task) {
	x.values(2, "env", ptr+"/env", t.Env)
	x.values(2, "requires", ptr+"/requires", t.Requires)
	x.line(2, "timeout "+milliseconds(t.TimeoutMS), ptr+"/timeout_ms")
	x.flag(2, "on_lost "+string(t.OnLost), ptr+"/on_lost")
	x.flag(2, "allow_failure", ptr+"/allow_failure")
	x.flag(2, "always", ptr+"/always")
	if r := t.Retries; r != nil {
		words := fmt.Sprintf("retries %d on %s", r.Limit, strings.Join(r.On, ", "))
		for _, code := range r.Exit {
			words += fmt.Sprintf(", exit code %d", code)
		}
		if r.DelayMS > 0 {
			words += ", after " + milliseconds(r.DelayMS)
		}
		x.line(2, words, ptr+"/retries/limit")
	}
	for i, s := range t.Steps {
		x.step(fmt.Sprintf("%s/steps/%d", ptr, i), i, s)
	}
}

func (x *explainer) step(ptr string, n int, s pipeline.Step) {
	x.line(2, fmt.Sprintf("step %d %s", n+1, x.style.bold(s.Name)), ptr+"/sh")
	x.values(3, "env", ptr+"/env", s.Env)
	x.flag(3, "dir "+s.Dir, ptr+"/dir")
	x.flag(3, "timeout "+milliseconds(s.TimeoutMS), ptr+"/timeout_ms")
	x.flag(3, "allow_failure", ptr+"/allow_failure")
	x.flag(3, "always", ptr+"/always")
	for _, code := range sortedKeys(s.ExitCodes) {
		x.flag(3, "exit code "+code+" means "+s.ExitCodes[code], ptr+"/exit_codes/"+code)
	}
	script := strings.TrimSpace(s.Sh)
	if script == s.Name {
		return
	}
	for line := range strings.Lines(script) {
		fmt.Fprintf(x, "%s%s %s\n", strings.Repeat("  ", 3), x.style.dim("│"), strings.TrimRight(line, "\n"))
	}
}

// flag writes a value only if the file says it: a rule that holds everywhere needs no mention.
func (x *explainer) flag(depth int, text, ptr string) {
	if o, ok := x.plan.Origins[ptr]; ok && o.Kind != "default" {
		x.line(depth, text, ptr)
	}
}

func (x *explainer) line(depth int, text, ptr string) {
	indent := strings.Repeat("  ", depth)
	width := len([]rune(indent + stripColours(text)))
	fmt.Fprintf(x, "%s%s%s %s\n", indent, text, strings.Repeat(" ", max(1, originColumn-width)), x.style.dim(origin(x.plan.Origins[ptr])))
}

func origin(o pipeline.Origin) string {
	if o.File != "" {
		return fmt.Sprintf("%s:%d:%d", o.File, o.Line, o.Column)
	}
	return o.Kind + ": " + o.Note
}

// values writes a mapping, a line for each of its keys.
func (x *explainer) values(depth int, what, ptr string, values any) {
	texts := map[string]string{}
	switch v := values.(type) {
	case map[string]string:
		texts = v
	case map[string]any:
		for key, value := range v {
			texts[key] = fmt.Sprint(value)
		}
	}
	for _, key := range sortedKeys(texts) {
		text := texts[key]
		if strings.ContainsAny(text, "\n\t") {
			text = fmt.Sprintf("%q", text)
		}
		x.line(depth, fmt.Sprintf("%s %s=%s", what, key, text), ptr+"/"+pointerEscape.Replace(key))
	}
}

// pointerEscape writes a key for a JSON pointer.
var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
