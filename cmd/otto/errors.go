package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ottoci/otto/client"
)

// Exit statuses. Those of a run are its result.
const (
	codeOK       = 0
	codeFailed   = 1
	codeAborted  = 2
	codeUnstable = 3
	codeUsage    = 64 // EX_USAGE of sysexits.h
	// codeInterrupted is what shells make of a death by Ctrl-C.
	codeInterrupted = 130
)

// exit ends the program with a status that needs no more words.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// hinted is an error with the remedy.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

func withHint(err error, format string, args ...any) error {
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// usageError is a command line that cannot be understood.
type usageError struct {
	error
	command string
}

func usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...), cmd.CommandPath()}
}

// wrongFlag says in words what is wrong with the value of a flag: what numbers and durations are parsed with speaks of itself.
func wrongFlag(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return usage(cmd, "%w", err)
	}
	kind := map[string]string{
		"bool": "true or false", "int": "a whole number", "int64": "a whole number", "float64": "a number", "duration": "a duration such as 90s or 1h30m",
	}[invalid.GetFlag().Value.Type()]
	switch {
	case kind == "":
		return usage(cmd, "%w", err)
	case errors.Is(err, strconv.ErrRange):
		return usage(cmd, "--%s cannot be %s: that is too much", invalid.GetFlag().Name, invalid.GetValue())
	}
	return usage(cmd, "--%s is %s, and %q is not", invalid.GetFlag().Name, kind, invalid.GetValue())
}

// written adds to how a command ended that not all of its output could be written.
func (a *app) written(err error) error {
	out, ok := a.stdout.(*output)
	if !ok {
		return err
	}
	lost := out.unwritten()
	if lost == nil || errors.As(err, new(*usageError)) {
		return err
	}
	if status := exit(0); err != nil && !errors.As(err, &status) && !errors.Is(err, lost) {
		return err
	}
	return fmt.Errorf("write the output: %w", lost)
}

// report prints an error as people read it and answers the exit status it stands for.
func (a *app) report(err error) int {
	var quiet exit
	if err == nil || errors.As(err, &quiet) {
		return int(quiet)
	}
	switch {
	case errors.Is(err, errInterrupted):
		return codeInterrupted
	case errors.Is(err, syscall.EPIPE): // whoever read our output has seen enough
		return codeFailed
	}
	style := a.stderrStyle()
	fmt.Fprintf(a.stderr, "%s %v\n", style.red("otto:"), describe(err))
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(a.stderr, "%s %s\n", style.dim("hint:"), hint)
	}
	var wrong *usageError
	if errors.As(err, &wrong) {
		return codeUsage
	}
	return codeFailed
}

// describe shortens what Go's HTTP client says: the address and the cause are enough.
func describe(err error) string {
	var call *url.Error
	if !errors.As(err, &call) || err.Error() != call.Error() {
		return err.Error()
	}
	at := call.URL
	if u, parseErr := url.Parse(call.URL); parseErr == nil {
		at = u.Scheme + "://" + u.Host
	}
	return fmt.Sprintf("cannot reach the server at %s: %v", at, call.Err)
}

// hintOf is the remedy that comes with an error: the innermost that knows one says it.
func hintOf(err error) string {
	var h *hinted
	var refusal *client.Error
	var wrong *usageError
	var errno syscall.Errno
	switch {
	case errors.As(err, &h):
		return h.hint
	case errors.As(err, &refusal) && refusal.Hint != "":
		return refusal.Hint
	case errors.As(err, &refusal) && refusal.Status == http.StatusNotFound:
		return lists(refusal.Detail)
	case client.IsStatus(err, http.StatusUnauthorized):
		return "set OTTO_TOKEN to a token of this server (otto token create), or give --token"
	case client.IsStatus(err, http.StatusForbidden):
		return "use a token whose role allows it: otto token create --role admin"
	case errors.As(err, &wrong):
		return wrong.command + " --help"
	case errors.As(err, &errno) && errno == syscall.ECONNREFUSED && errors.As(err, new(*url.Error)):
		return "is the server running? OTTO_URL or --url says which one is asked; otto up starts one here"
	}
	return ""
}

// lists names the command that lists what there is, where a thing that was named does not exist.
func lists(message string) string {
	thing, _, _ := strings.Cut(message, " ")
	return map[string]string{
		"run": "otto runs lists the runs that there are", "task": "otto show RUN lists the tasks of a run",
		"agent": "otto agents lists the agents that there are", "token": "otto token list lists the tokens that there are",
	}[thing]
}

// codeOf is the exit status that stands for a run's final state.
func codeOf(state string) error {
	switch state {
	case client.Succeeded, client.Skipped:
		return nil
	case client.Aborted:
		return exit(codeAborted)
	case client.Unstable:
		return exit(codeUnstable)
	}
	return exit(codeFailed)
}
