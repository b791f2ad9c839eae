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

// test runs the tests against the mutant and gives the first that fails; none if it survives. It works through an overlay:
// the working tree stays as it is.
func (m mutant) test(ctx context.Context) (killer string, err error) {
	dir, err := os.MkdirTemp("", "otto-mutant-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	program, err := m.build(ctx, dir)
	if err != nil {
		return "", err
	}
	for _, choice := range []string{"-test.skip=" + slow, "-test.run=" + slow} {
		killer, err = firstFailure(ctx, program, choice)
		if killer != "" || err != nil {
			return killer, err
		}
	}
	return "", nil
}

// build makes a test program with the mutant in it.
func (m mutant) build(ctx context.Context, dir string) (program string, err error) {
	mutated, config := filepath.Join(dir, "mutant.sql"), filepath.Join(dir, "overlay.json")
	original, err := filepath.Abs(m.path)
	if err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: mutated}})
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.WriteFile(mutated, []byte(m.text), 0o600), os.WriteFile(config, overlay, 0o600)); err != nil {
		return "", err
	}
	program = filepath.Join(dir, "transitions.test")
	out, err := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", config, "-o", program, "./transitions").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build %s: %w: %s", m, err, out)
	}
	return program, nil
}

// firstFailure runs tests until one fails, and gives its name. A mutant that does not even load fails the first.
func firstFailure(ctx context.Context, program, choice string) (name string, err error) {
	patient, cancel := context.WithTimeout(ctx, longest+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(patient, program, choice, "-test.v", "-test.timeout="+longest.String())
	cmd.Dir = "transitions"
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
