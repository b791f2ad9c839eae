package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What docs/explain.md shows is what the command prints.
func TestExplainDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```yaml\n")
	ottofile, rest, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatal("the page has no Ottofile")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Ottofile.yaml"), []byte(ottofile), 0o600); err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```\n\\$ otto ([^\n|]+)\n(.*?)```").FindAllStringSubmatch(rest, -1)
	if len(shown) < 4 {
		t.Fatalf("the page shows only %d commands", len(shown))
	}
	digest := regexp.MustCompile("[0-9a-f]{64}") // it changes whenever a plan says more
	for _, command := range shown {
		var stdout, stderr bytes.Buffer
		a := &app{stdout: &stdout, stderr: &stderr}
		if code := a.main(t.Context(), append(strings.Fields(command[1]), dir)); code != 0 {
			t.Errorf("%s: exit status %d: %s", command[1], code, &stderr)
		}
		if diff := cmp.Diff(digest.ReplaceAllString(command[2], "…"), digest.ReplaceAllString(stdout.String(), "…")); diff != "" {
			t.Errorf("%s:\n%s", command[1], diff)
		}
	}
}
