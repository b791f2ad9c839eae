package bench

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The smallest benchmark that still measures Otto: real processes, real Postgres, tiny counts.
func TestSmoke(t *testing.T) {
	t.Parallel()
	dir := scratch(t)
	otto := filepath.Join(dir, "otto")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", otto, "../cmd/otto").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tiny := size{cell: time.Millisecond, rounds: 1, round: 20 * time.Millisecond, runs: 1, warm: 2, cost: 2}
	report, err := Run(t.Context(), Config{
		Otto: otto, Dir: dir, Only: []string{"ceiling", "throughput"}, Seed: 1, Log: slog.New(slog.DiscardHandler), size: &tiny, lax: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{figOneTask, figHundred, figShell} {
		if f := report.find("throughput", name); f == nil || f.Value <= 0 || f.Ratio <= 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if len(report.Statements) == 0 {
		t.Error("no statements were counted")
	}
}

// scratch is a directory that Postgres' own user can reach.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "otto-bench-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestUnknownSection(t *testing.T) {
	t.Parallel()
	if _, err := Run(t.Context(), Config{Only: []string{"lunch"}}); err == nil {
		t.Error("measured lunch")
	}
}
