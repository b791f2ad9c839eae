package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/reliability.md names the tests that prove each promise: they exist, and what is proved has some. It names every
// fault, too.
func TestReliabilityPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| (.+) \| (.*?) ?\| ((?:proved|partly|not yet)[^|]*) \|[^|]*\|$`).FindAllStringSubmatch(string(page), -1)
	if len(rows) < 20 {
		t.Fatalf("only %d promises found", len(rows))
	}
	for _, row := range rows {
		tests := regexp.MustCompile("`([a-z0-9/]+)\\.(Test[A-Za-z0-9_]+)`").FindAllStringSubmatch(row[2], -1)
		if (len(tests) == 0) != strings.HasPrefix(row[3], "not yet") {
			t.Errorf("%q is %s with %d tests", row[1], row[3], len(tests))
		}
		for _, name := range tests {
			if !hasTest(t, name[1], name[2]) {
				t.Errorf("%q names %s.%s, which does not exist", row[1], name[1], name[2])
			}
		}
	}
	for _, kind := range faultKinds() {
		if !strings.Contains(string(page), "`"+kind+"`") {
			t.Errorf("the fault %s is not described", kind)
		}
	}
}

// hasTest says whether a package has the test.
func hasTest(t *testing.T, pkg, test string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(source), "\nfunc "+test+"(t *testing.T) {") {
			return true
		}
	}
	return false
}
