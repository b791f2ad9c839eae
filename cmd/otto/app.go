package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/ottoci/otto/db/local"
	"github.com/ottoci/otto/pipeline"
)

// app is what every verb is given: where to read and write, and what environment and flags say.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            environment
	flags          globalFlags
	log            *slog.Logger
	limits         pipeline.Limits // of plans, see readLimits
}

// globalFlags are those of every verb.
type globalFlags struct {
	url, token, dataDir string
	logLevel, logFormat string
	noColor             bool
	passEnv             []string // not of every verb: of those that have an agent, see addPassEnv
}

func (a *app) addGlobalFlags(f *pflag.FlagSet) {
	f.StringVar(&a.flags.url, "url", "", "the server to use (OTTO_URL)")
	f.StringVar(&a.flags.token, "token", "", "the token to use (OTTO_TOKEN)")
	f.StringVar(&a.flags.dataDir, "data-dir", "", "where Otto keeps its data (OTTO_DATA_DIR)")
	f.StringVar(&a.flags.logLevel, "log-level", "", "debug, info, warn, error or off (OTTO_LOG)")
	f.StringVar(&a.flags.logFormat, "log-format", "text", "text or json")
	f.BoolVar(&a.flags.noColor, "no-color", false, "no colours (NO_COLOR)")
}

// addPassEnv adds the flag of the verbs that have an agent.
func (a *app) addPassEnv(f *pflag.FlagSet, whose string) {
	f.StringArrayVar(&a.flags.passEnv, "pass-env", nil, "variable `name` of this environment that "+whose+" gives to steps; may be repeated (OTTO_PASS_ENV, with commas)")
}

// passEnv names the variables that an agent gives to steps, besides those it always does.
func (a *app) passEnv() ([]string, error) {
	names := slices.Clone(a.flags.passEnv)
	for name := range strings.SplitSeq(a.env.passEnv, ",") {
		names = append(names, words(strings.TrimSpace(name))...)
	}
	for _, name := range names {
		if name == "" || strings.ContainsAny(name, "= \x00") {
			return nil, fmt.Errorf("%q is not the name of a variable", name)
		}
	}
	return names, nil
}

// mostMatrixLegs is the highest limit of legs: a plan has at most as many tasks.
const mostMatrixLegs = 10_000

// readLimits reads what bounds the plans of this installation. Who plans and who serves should agree, so both read it.
func (a *app) readLimits() error {
	if a.env.matrixLegs == "" {
		return nil
	}
	legs, err := strconv.Atoi(a.env.matrixLegs)
	if err != nil || legs < 1 || legs > mostMatrixLegs {
		return fmt.Errorf("OTTO_MATRIX_LEGS is %q: it must be a whole number from 1 to %d", a.env.matrixLegs, mostMatrixLegs)
	}
	a.limits.MatrixLegs = legs
	return nil
}

// environment is everything Otto reads from its environment.
type environment struct {
	url, token            string
	dataDir               string
	databaseURL, storeURL string
	pgBin                 string
	enrolToken            string
	dockerHost            string
	passEnv               string
	path                  string
	isolation             string
	matrixLegs            string
	logLevel              string
	noColor               bool
	xdgDataHome, home     string
	all                   []string // for children and for git
}

func readEnvironment(all []string) environment {
	vars := map[string]string{}
	for _, entry := range all {
		name, value, _ := strings.Cut(entry, "=")
		vars[name] = value
	}
	return environment{
		url: vars["OTTO_URL"], token: vars["OTTO_TOKEN"],
		dataDir:     vars["OTTO_DATA_DIR"],
		databaseURL: vars["OTTO_DATABASE_URL"], storeURL: vars["OTTO_STORE_URL"],
		pgBin:       vars["OTTO_PG_BIN"],
		enrolToken:  vars["OTTO_ENROL_TOKEN"],
		dockerHost:  vars["DOCKER_HOST"],
		passEnv:     vars["OTTO_PASS_ENV"],
		isolation:   vars["OTTO_ISOLATION"],
		path:        vars["PATH"],
		matrixLegs:  vars["OTTO_MATRIX_LEGS"],
		logLevel:    vars["OTTO_LOG"],
		noColor:     vars["NO_COLOR"] != "" || vars["TERM"] == "dumb",
		xdgDataHome: vars["XDG_DATA_HOME"], home: vars["HOME"],
		all: all,
	}
}

// annotationLog is the log level of a verb. Those that have none are quiet: they say themselves what a person must know,
// once, where the parts behind them would say it again and again.
const annotationLog = "log"

// logOff is the log level at which nothing is logged.
const logOff = "off"

// prepare reads the global flags, before any verb runs.
func (a *app) prepare(cmd *cobra.Command) error {
	word := first(a.flags.logLevel, a.env.logLevel, cmd.Annotations[annotationLog], logOff)
	level := slog.LevelError + 1
	if err := level.UnmarshalText([]byte(word)); err != nil && word != logOff {
		return usage(cmd, "the log level is %q: it must be debug, info, warn, error or off", word)
	}
	a.flags.logLevel = strings.ToLower(word)
	if err := a.readLimits(); err != nil {
		return usage(cmd, "%w", err)
	}
	options := &slog.HandlerOptions{Level: level}
	switch a.flags.logFormat {
	case "text":
		a.log = slog.New(slog.NewTextHandler(a.stderr, options))
	case "json":
		a.log = slog.New(slog.NewJSONHandler(a.stderr, options))
	default:
		return usage(cmd, "the log format is %q: it must be text or json", a.flags.logFormat)
	}
	slog.SetDefault(a.log)
	interruptible(cmd)
	return nil
}

// dataDir is where this machine's Otto keeps everything.
func (a *app) dataDir() (string, error) {
	dir := first(a.flags.dataDir, a.env.dataDir, local.DefaultDataDir(os.Geteuid(), a.env.xdgDataHome, a.env.home))
	if dir == "" {
		return "", withHint(fmt.Errorf("there is no home directory to keep data in"), "set OTTO_DATA_DIR")
	}
	return filepath.Abs(dir)
}

// say talks to the person, beside the output.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.stderr, format+"\n", args...)
}

// printJSON writes a value as one line.
func (a *app) printJSON(v any) error {
	encoder := json.NewEncoder(a.stdout)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

func (a *app) stdoutStyle() style { return style{a.colours(a.stdout)} }
func (a *app) stderrStyle() style { return style{a.colours(a.stderr)} }

func (a *app) colours(w io.Writer) bool {
	return !a.flags.noColor && !a.env.noColor && isTerminal(w)
}

func isTerminal(stream any) bool {
	f, ok := stream.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}

// words are those that are not empty.
func words(all ...string) []string {
	return slices.DeleteFunc(all, func(w string) bool { return w == "" })
}

// first is the first word that is not empty.
func first(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}
