package bench

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ottoci/otto/db/dbtest"
)

// The smallest benchmark that still measures Otto: real processes, real Postgres, tiny counts.
func TestSmoke(t *testing.T) {
	t.Parallel()
	otto := filepath.Join(t.TempDir(), "otto")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", otto, "../cmd/otto").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	report := smoke(t, Config{Otto: otto, Only: []string{"throughput"}})
	for _, name := range []string{figOneTask, figHundred, figShell} {
		if f := report.find("throughput", name); f == nil || f.Value <= 0 || f.Ratio <= 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if len(report.Statements) == 0 {
		t.Error("no statements were counted")
	}
}

// What bounds Otto is measured without it.
func TestCeiling(t *testing.T) {
	t.Parallel()
	report := smoke(t, Config{Only: []string{"ceiling"}})
	for _, l := range []load{unbatched(), unbatchedShell(), {workers: 32, batch: 50}} {
		if f := report.find("ceiling", l.String()); f == nil || f.Value <= 0 {
			t.Errorf("%s: %+v", l, f)
		}
	}
}

// smoke measures as little as can be measured.
func smoke(t *testing.T, cfg Config) *Report {
	t.Helper()
	cfg.Dir, cfg.Seed, cfg.Log = scratch(t), 1, slog.New(slog.DiscardHandler)
	cfg.lax, cfg.initCache = true, dbtest.InitCache()
	cfg.size = &size{cell: time.Millisecond, rounds: 1, round: 20 * time.Millisecond, runs: 1, warm: 2, cost: 2}
	report, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// scratch is a directory that Postgres' own user can reach.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(dbtest.Place(), "otto-bench-")
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
