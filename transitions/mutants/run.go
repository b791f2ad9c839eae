package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// slow are tests that most mutants need not wait for: they run in a second round, against what the others let live.
const slow = "^(TestModel|TestTwoSiblings|TestManyAgents|TestAbortRacesEverything|TestEightFinish|TestTwoFanoutFailures)$"

const longest = 5 * time.Minute // one round of tests; a mutant that hangs is killed, too

// impatient makes a mutant that waits where it must not fail, long before the round is over.
const impatient = "PGOPTIONS=-c lock_timeout=20s"

// fromDir stands in for transitions/embed.go: one program tests all mutants, each read from a directory.
const fromDir = `package transitions

import (
	"io/fs"
	"os"
)

var FS fs.FS = os.DirFS(os.Getenv("OTTO_MUTANT"))
`

// build makes a test program that reads the transitions from the directory in OTTO_MUTANT. It works through an overlay: the
// working tree stays as it is.
func build(ctx context.Context, dir string) (program string, err error) {
	reader, config := filepath.Join(dir, "embed.go"), filepath.Join(dir, "overlay.json")
	original, err := filepath.Abs("transitions/embed.go")
	if err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: reader}})
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.WriteFile(reader, []byte(fromDir), 0o600), os.WriteFile(config, overlay, 0o600)); err != nil {
		return "", err
	}
	program = filepath.Join(dir, "transitions.test")
	out, err := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", config, "-o", program, "./transitions").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the tests: %w: %s", err, out)
	}
	return program, nil
}

// rounds are the choices of tests: the quick ones, then the slow ones.
func rounds() []string { return []string{"-test.skip=" + slow, "-test.run=" + slow} }

// test runs the program against the mutant and gives a test that fails because of it; none if the mutant survives.
func (m mutant) test(ctx context.Context, program string) (killer string, err error) {
	dir, err := m.write(filepath.Dir(program))
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	for _, round := range rounds() {
		killer, err = kill(ctx, program, dir, round)
		if killer != "" || err != nil {
			return killer, err
		}
	}
	return "", nil
}

// again is how often a test that has failed may show that it was the mutant: a race that the mutant opens is not lost each time.
const again = 3

// kill runs a round until a test fails that fails alone, too. One that does not has failed for another reason, such as a busy machine:
// the round is run again without it.
func kill(ctx context.Context, program, dir, round string) (killer string, err error) {
	var doubtful []string
	for {
		choice := []string{round}
		if len(doubtful) > 0 {
			choice = less(round, doubtful)
		}
		killer, err = firstFailure(ctx, program, dir, choice)
		name, _, _ := strings.Cut(killer, "/")
		if killer == "" || err != nil || !strings.HasPrefix(name, "Test") {
			return killer, err
		}
		for range again {
			alone, err := firstFailure(ctx, program, dir, []string{"-test.run=^" + name + "$"})
			if alone != "" || err != nil {
				return killer, err
			}
		}
		doubtful = append(doubtful, name)
	}
}

// less is a round without some tests.
func less(round string, tests []string) []string {
	pattern := "^(" + strings.Join(tests, "|") + ")$"
	if skipped, is := strings.CutPrefix(round, "-test.skip="); is {
		return []string{"-test.skip=" + skipped + "|" + pattern}
	}
	return []string{round, "-test.skip=" + pattern}
}

// sound makes sure that the tests pass while nothing is mutated: else each mutant would seem to be killed.
func sound(ctx context.Context, program string) error {
	for _, round := range rounds() {
		killer, err := kill(ctx, program, ".", round)
		if killer != "" {
			return fmt.Errorf("%s fails without a mutant", killer)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// write makes a directory with all transitions, of which one is mutated.
func (m mutant) write(parent string) (dir string, err error) {
	if dir, err = os.MkdirTemp(parent, "mutant-"); err != nil {
		return "", err
	}
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(m.path))); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, m.File), []byte(m.text), 0o600)
}

// firstFailure runs tests until one fails, and gives its name. A mutant that does not even load fails the first.
func firstFailure(ctx context.Context, program, mutated string, choice []string) (name string, err error) {
	patient, cancel := context.WithTimeout(ctx, longest+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(patient, program, append(choice, "-test.v", "-test.timeout="+longest.String())...)
	cmd.Dir, cmd.Env = "transitions", append(os.Environ(), "OTTO_MUTANT="+mutated, impatient)
	cmd.WaitDelay = 10 * time.Second // what cleans up after the tests may hold the pipe
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	for lines := bufio.NewScanner(out); name == "" && lines.Scan(); {
		if failed, is := strings.CutPrefix(strings.TrimSpace(lines.Text()), "--- FAIL: "); is {
			name, _, _ = strings.Cut(failed, " ")
			cancel() // one is enough
		}
	}
	err = cmd.Wait()
	_, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case name != "":
		return name, nil
	case ctx.Err() != nil: // it was not the mutant
		return "", context.Cause(ctx)
	case failed:
		return "the tests ended early", nil // a panic, or their time was up
	}
	return "", err
}
