package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// annotationSignals marks verbs that follow signals themselves: for them, the first and the second mean different things.
const annotationSignals = "signals"

// endings are the signals that ask us to end. A hang-up is one: nobody is left to press Ctrl-C.
var endings = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}

var errInterrupted = errors.New("interrupted")

// interruptible lets a signal end the context of verbs that do not follow signals themselves. A second one ends the
// program at once, which leaves no process behind: they die with us.
func interruptible(cmd *cobra.Command) {
	if _, own := cmd.Annotations[annotationSignals]; own {
		return
	}
	ctx, cancel := context.WithCancelCause(cmd.Context())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, endings...)
	go func() {
		<-signals
		cancel(errInterrupted)
		<-signals
		os.Exit(codeInterrupted)
	}()
	cmd.SetContext(ctx)
}

// survivePipes turns the death by a closed pipe into an error of the write, so that what was started is stopped. It is
// caught, not ignored: what is ignored stays ignored in every child.
func survivePipes() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}

// ownSignals marks a verb that follows signals itself.
func ownSignals(cmd *cobra.Command) *cobra.Command {
	return annotate(cmd, annotationSignals, "own")
}

// serves marks a verb that runs for long: it follows signals itself and logs what it does.
func serves(cmd *cobra.Command, level string) *cobra.Command {
	return annotate(ownSignals(cmd), annotationLog, level)
}

func annotate(cmd *cobra.Command, key, value string) *cobra.Command {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[key] = value
	return cmd
}
