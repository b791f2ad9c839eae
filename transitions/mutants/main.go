// Mutants proves that the tests guard the guards: it takes one condition, lock or conflict clause at a time out of
// transitions/*.sql and runs the tests against that. A mutant that no test kills is printed, and fails the command.
//
//	go run ./transitions/mutants            all of them
//	go run ./transitions/mutants -only 45   those of files whose name contains 45
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Exit codes.
const (
	codeKilled   = 0
	codeSurvived = 1
	codeFailed   = 2
	codeUsage    = 64
)

// verdict is what came of all mutants.
type verdict struct {
	Mutants   int      `json:"mutants"`
	Killed    int      `json:"killed"`
	Survivors []mutant `json:"survivors"`
	Seconds   float64  `json:"seconds"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command is the program: the verdict goes to out, progress to talk.
func command(ctx context.Context, args []string, out, talk io.Writer) int {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(talk)
	only := flags.String("only", "", "mutate files whose name contains this")
	list := flags.Bool("list", false, "print the mutants, run nothing")
	asJSON := flags.Bool("json", false, "print the verdict as JSON")
	jobs := flags.Int("jobs", max(2, runtime.NumCPU()/2), "how many are tested at once")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return codeKilled
	} else if err != nil || flags.NArg() > 0 {
		return codeUsage
	}
	mutants, err := enumerate("transitions", *only)
	if err != nil {
		fmt.Fprintln(talk, "mutants:", err)
		return codeFailed
	}
	if *list {
		for _, m := range mutants {
			fmt.Fprintln(out, m)
		}
		return codeKilled
	}
	v, err := runAll(ctx, mutants, *jobs, talk)
	if err != nil {
		fmt.Fprintln(talk, "mutants:", err)
		return codeFailed
	}
	return v.print(out, *asJSON)
}

// runAll builds the tests and runs them against all mutants.
func runAll(ctx context.Context, mutants []mutant, jobs int, talk io.Writer) (verdict, error) {
	dir, err := os.MkdirTemp("", "otto-mutants-")
	if err != nil {
		return verdict{}, err
	}
	defer os.RemoveAll(dir)
	program, err := build(ctx, dir)
	if err != nil {
		return verdict{}, err
	}
	fmt.Fprintln(talk, "testing without a mutant first")
	if err := sound(ctx, program); err != nil {
		return verdict{}, err
	}
	return testAll(ctx, program, mutants, jobs, talk)
}

// testAll tests some mutants at a time, and tells how far it is.
func testAll(ctx context.Context, program string, mutants []mutant, jobs int, talk io.Writer) (verdict, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v := verdict{Mutants: len(mutants), Survivors: []mutant{}}
	began, done := time.Now(), 0
	queue := make(chan mutant)
	var mu sync.Mutex
	var testing sync.WaitGroup
	for range jobs {
		testing.Go(func() {
			for m := range queue {
				killer, err := m.test(ctx, program)
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				done++
				if killer == "" {
					v.Survivors = append(v.Survivors, m)
					killer = "SURVIVED"
				}
				left := time.Since(began) / time.Duration(done) * time.Duration(len(mutants)-done)
				fmt.Fprintf(talk, "%3d/%d  %7s left  %-30s  %s\n", done, len(mutants), left.Round(time.Second), killer, oneLine(m.String()))
				mu.Unlock()
			}
		})
	}
	for _, m := range mutants {
		select {
		case queue <- m:
		case <-ctx.Done():
		}
	}
	close(queue)
	testing.Wait()
	v.Killed, v.Seconds = done-len(v.Survivors), time.Since(began).Seconds()
	return v, context.Cause(ctx)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// print writes the verdict, the survivors first.
func (v verdict) print(out io.Writer, asJSON bool) int {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if encoder.Encode(v) != nil {
			return codeFailed
		}
	} else {
		for _, m := range v.Survivors {
			fmt.Fprintln(out, "SURVIVED ", oneLine(m.String()))
		}
		fmt.Fprintf(out, "%d mutants, %d killed, %d survived, in %.0f s\n", v.Mutants, v.Killed, len(v.Survivors), v.Seconds)
	}
	if len(v.Survivors) > 0 {
		return codeSurvived
	}
	return codeKilled
}
