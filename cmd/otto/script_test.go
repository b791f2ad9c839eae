package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/agent/isolation"
	"github.com/ottoci/otto/db/local"
	"github.com/ottoci/otto/migrations"
)

// template is a data directory with a migrated database. Scripts get a copy: making a cluster takes seconds.
var template string

var update = flag.Bool("update", false, "write what commands print into the scripts")

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{agent.KeeperCommand, isolation.RelayCommand, isolation.EscapeCommand}, os.Args[1]) { // run by its file, under another name
		main()
	}
	testscript.Main(suite{m}, map[string]func(){"otto": main, "badorchestrator": badOrchestrator})
}

// suite makes the template before the tests run.
type suite struct{ *testing.M }

func (s suite) Run() int {
	dir, err := reachableDir()
	if err == nil {
		defer os.RemoveAll(dir)
		template, err = dir, makeTemplate(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "make the template:", err)
		return 1
	}
	return s.M.Run()
}

func makeTemplate(dir string) error {
	server, err := local.Start(context.Background(), local.Config{
		Dir: filepath.Join(dir, "postgres"), Durable: true, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer server.Stop()
	_, err = migrations.Up(context.Background(), server.URL())
	return err
}

// reachableDir is a temporary directory with a short path, through which the user of root's database server gets.
func reachableDir() (string, error) {
	dir, err := os.MkdirTemp("", "ot")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711)
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setup,
		Condition: func(word string) (bool, error) {
			if word != "root" {
				return false, fmt.Errorf("the condition %s is unknown", word)
			}
			return os.Geteuid() == 0, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"start":    start,
			"await":    await,
			"signal":   sendSignal,
			"ended":    ended,
			"note":     note,
			"gone":     gone,
			"database": database,
			"expand":   expand,
			"setenv":   setenv,
		},
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// setup gives each script a data directory of its own, which does not exist yet, and an environment without ours.
func setup(e *testscript.Env) error {
	dir, err := reachableDir()
	if err != nil {
		return err
	}
	e.Defer(func() { _ = os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	e.Setenv("OTTO_DATA_DIR", data)
	e.Setenv("DATA", data)
	e.Setenv("OTTO_ISOLATION", "S0") // steps tell their script by files that they are there
	e.Setenv("TMPDIR", os.TempDir()) // the script's own is closed to the database's user
	jobs := &background{}
	e.Values[backgroundKey{}] = jobs
	e.Defer(jobs.stop)
	return nil
}

// database makes the script's data directory, with a database in it.
func database(ts *testscript.TestScript, _ bool, _ []string) {
	dir := ts.Getenv("DATA")
	ts.Check(os.Mkdir(dir, 0o755))
	out, err := exec.Command("cp", "-a", filepath.Join(template, "postgres"), dir).CombinedOutput()
	if err != nil {
		ts.Fatalf("copy the template: %v: %s", err, bytes.TrimSpace(out))
	}
}

// expand puts variables into files, for steps, whose environment is not the script's.
func expand(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		body := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(body), 0o600))
	}
}

// setenv takes variables over from a file of NAME=value lines.
func setenv(ts *testscript.TestScript, _ bool, args []string) {
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		ts.Setenv(name, value)
	}
}

// exits runs a command that must end with a status: exits 2 otto run.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND…")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		code = exitCode(err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit status %d, want %s", code, args[0])
	}
}
