package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The orchestrator that docs/orchestrators.md shows keeps every rule.
func TestDocumentedOrchestratorConforms(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: see scripts/deps", err)
		}
	}
	page, err := os.ReadFile("../docs/orchestrators.md")
	if err != nil {
		t.Fatal(err)
	}
	script := regexp.MustCompile("(?s)```sh\n(#!/bin/sh.*?)```").FindSubmatch(page)
	if script == nil {
		t.Fatal("the page shows no orchestrator")
	}
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "orchestrator.sh")
	if err := os.WriteFile(path, script[1], 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, "orchestrator", "conformance", "--verbose", "--", "sh", "-eu", path)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(bin)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "✓ killed ") {
		t.Errorf("%v\n%s", err, out)
	}
}
