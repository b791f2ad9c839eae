// Package otto_test holds the rules of the house that no single package can test.
package otto_test

import (
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ottoci/otto"

// The import table of ARCHITECTURE.md is what the packages really do, tests aside.
func TestImportTable(t *testing.T) {
	t.Parallel()
	allowed := importTable(t)
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		from := strings.TrimPrefix(strings.TrimPrefix(fields[0], module), "/")
		if from == "" {
			continue
		}
		may, ok := allowed[from]
		if !ok {
			t.Errorf("package %s has no row in the import table of ARCHITECTURE.md", from)
			continue
		}
		seen++
		for _, imported := range fields[1:] {
			ours, isOurs := strings.CutPrefix(imported, module+"/")
			if isOurs && !slices.Contains(may, ours) && !slices.Contains(may, "everything") {
				t.Errorf("%s imports %s; the table allows %v", from, ours, may)
			}
		}
	}
	if seen != len(allowed) {
		t.Errorf("the table has %d packages, the house %d", len(allowed), seen)
	}
}

// Only jobs knows River's workers, only the agent runs user code, and the agent cannot reach the database.
func TestWhoNeedsWhat(t *testing.T) {
	t.Parallel()
	for pkg, never := range map[string][]string{
		"agent":    {"github.com/jackc/pgx", "github.com/riverqueue", module + "/db"},
		"api":      {"github.com/riverqueue", module + "/jobs", module + "/agent"},
		"client":   {"github.com", "golang.org/x"},
		"pipeline": {"github.com/jackc/pgx", "net/http"},
	} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./"+pkg).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for dep := range strings.Lines(string(out)) {
			dep = strings.TrimSpace(dep)
			for _, n := range never {
				if strings.HasPrefix(dep, n) && dep != path.Join(module, pkg) {
					t.Errorf("%s depends on %s", pkg, dep)
				}
			}
		}
	}
}

var row = regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\|([^|]*)\\|")

// importTable reads ARCHITECTURE.md: package → what it may import of ours.
func importTable(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "## Who may import whom")
	if !found {
		t.Fatal("ARCHITECTURE.md has no import table")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	table := map[string][]string{}
	for _, m := range row.FindAllStringSubmatch(section, -1) {
		var may []string
		for word := range strings.FieldsFuncSeq(m[2], func(r rune) bool { return strings.ContainsRune("`, ", r) }) {
			may = append(may, word)
		}
		table[m[1]] = may
	}
	if len(table) < 10 {
		t.Fatalf("only %d rows found in the import table", len(table))
	}
	return table
}
