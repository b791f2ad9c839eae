// Command otto is all of Otto: the client, the servers, the workers and the agents. This package only wires the others
// together; it is the only one that reads the environment.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/agent/isolation"
)

func main() {
	// Before anything else: a keeper stands between an agent and each step, and must cost next to nothing.
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case agent.KeeperCommand:
			os.Exit(agent.Keeper(os.Args[2:]))
		case isolation.RelayCommand:
			os.Exit(isolation.Relay(os.Args[2:]))
		case isolation.EscapeCommand:
			os.Exit(isolation.Escape(os.Args[2:]))
		}
	}
	a := &app{stdin: os.Stdin, stdout: &output{file: os.Stdout}, stderr: os.Stderr, env: readEnvironment(os.Environ())}
	os.Exit(a.main(context.Background(), os.Args[1:]))
}

// main runs one command line, says what went wrong, and answers the exit status.
func (a *app) main(ctx context.Context, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	return a.report(a.written(root.ExecuteContext(ctx)))
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "otto",
		Short: "Run software delivery pipelines, here or on a fleet",
		Long: `Otto turns an Ottofile into a plan that can be explained before anything runs, and runs exactly that plan.

Start in the directory of a project:

    otto init        write an Ottofile.yaml for what is there
    otto explain     what would run, and why
    otto run         run it here, uncommitted changes included`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,

		SuggestionsMinimumDistance: 2,

		Args:              knownCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.prepare(cmd) },
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(wrongFlag)
	root.SetUsageTemplate(usageTemplate)
	root.CompletionOptions.HiddenDefaultCmd = false
	a.addGlobalFlags(root.PersistentFlags())

	root.AddGroup(
		&cobra.Group{ID: groupPipeline, Title: "Pipelines:"},
		&cobra.Group{ID: groupRuns, Title: "Runs:"},
		&cobra.Group{ID: groupFleet, Title: "Servers and agents:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupPipeline, newRun(a), newExplain(a), newValidate(a), newLock(a), newInit(a), newSchema(a))
	add(groupRuns, newRuns(a), newShow(a), newWhy(a), newLogs(a), newEvents(a), newAbort(a), newRerun(a))
	root.Version = version()
	root.SetVersionTemplate(versionLine())
	add(groupFleet, newUp(a), newServer(a), newWorker(a), newAgent(a), newAgents(a), newMigrate(a), newToken(a), newPool(a), newOrchestrator(a))
	root.AddCommand(newVersion(a), newWithPg(a), newBench(a))
	root.InitDefaultHelpCmd()
	if help, _, err := root.Find([]string{"help"}); err == nil {
		help.Args = knownTopic
	}
	return root
}

const (
	groupPipeline = "pipeline"
	groupRuns     = "runs"
	groupFleet    = "fleet"
)

// knownCommand refuses what is no verb, and suggests the one that was meant.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := usage(cmd, "there is no command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return withHint(err, "did you mean otto %s?", near[0])
	}
	return err
}

// knownTopic refuses to help with what is no verb.
func knownTopic(cmd *cobra.Command, args []string) error {
	if found, _, err := cmd.Root().Find(args); err != nil || found == nil || len(args) > 0 && found == cmd.Root() {
		return knownCommand(cmd.Root(), args)
	}
	return nil
}

// atMost takes up to n arguments, named for the message.
func atMost(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usage(cmd, "at most %d %s can be given, and %q is too much", n, what, strings.Join(args[n:], " "))
		}
		return nil
	}
}

// nothing takes no arguments.
func nothing(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, "%s takes no arguments, and %q is one", cmd.CommandPath(), args[0])
	}
	return nil
}

// exitStatus is the section of a help text that says what the exit codes mean.
func exitStatus(lines ...string) string {
	return "\n\nExit status:\n  " + strings.Join(append(lines, "64 the command line is wrong"), "\n  ")
}

// Exit statuses that many verbs share, for their help.
const (
	exitDone    = "0  done"
	exitRefused = "1  failed or refused"
)

const usageTemplate = `Usage:
  {{if .Runnable}}{{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}{{if .Runnable}}
  {{end}}{{.CommandPath}} COMMAND{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$cmds := .Commands}}{{range $group := .Groups}}

{{.Title}}{{range $cmds}}{{if (and (eq .GroupID $group.ID) .IsAvailableCommand)}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}

{{if .Groups}}More:{{else}}Commands:{{end}}{{range $cmds}}{{if (and (eq .GroupID "") (or .IsAvailableCommand (eq .Name "help")))}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Flags of every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
`

// examples indents the examples of a help text.
func examples(lines ...string) string {
	return fmt.Sprint("  ", strings.Join(lines, "\n  "))
}
