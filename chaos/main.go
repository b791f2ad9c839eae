// Chaos breaks a whole Otto on purpose and says whether its promises hold: real Postgres, servers, workers and agents as
// processes, a random load, and faults from a seed. See docs/reliability.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// config says how long and how badly.
type config struct {
	Time time.Duration // of the safety phase: faults on
	// Settle bounds the liveness phase: once the faults are over, everything must be finished within it.
	Settle time.Duration
	Seed   uint64
	Only   []string // kinds of faults; empty means all
	Otto   string   // the program; built if empty
	Dir    string   // kept if given
	Talk   io.Writer
}

// defaultSettle allows for what an operator may count on to be noticed after a minute, such as a job whose worker died.
const defaultSettle = 90 * time.Second

// Exit codes.
const (
	codePassed = 0
	codeFailed = 1
	codeUsage  = 64
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command is the program: the verdict goes to out, progress to talk.
func command(ctx context.Context, args []string, out, talk io.Writer) int {
	cfg := config{Talk: talk}
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(talk)
	flags.DurationVar(&cfg.Time, "time", 3*time.Minute, "how long faults go on")
	flags.DurationVar(&cfg.Settle, "settle", defaultSettle, "how soon afterwards everything must be finished")
	flags.Uint64Var(&cfg.Seed, "seed", rand.Uint64N(1_000_000), "what decides load and faults; random if absent")
	only := flags.String("only", "", "faults to use, separated by commas: "+strings.Join(faultKinds(), ", "))
	asJSON := flags.Bool("json", false, "print the verdict as JSON")
	flags.StringVar(&cfg.Otto, "otto", "", "the otto `program`; built if absent")
	flags.StringVar(&cfg.Dir, "dir", "", "where to work; kept afterwards (a temporary `directory` if absent)")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return codePassed
	case err != nil || flags.NArg() > 0:
		return codeUsage
	}
	if *only != "" {
		cfg.Only = strings.Split(*only, ",")
	}
	if err := checkKinds(cfg.Only); err != nil {
		fmt.Fprintln(talk, "chaos:", err)
		return codeUsage
	}
	r, err := run(ctx, cfg)
	if err != nil {
		fmt.Fprintln(talk, "chaos:", err)
		return codeFailed
	}
	if *asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(r)
	} else {
		_, err = io.WriteString(out, r.text())
	}
	if err != nil || !r.Passed {
		return codeFailed
	}
	return codePassed
}
