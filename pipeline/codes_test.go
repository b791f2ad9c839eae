package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each code has an example, testdata/errors/CODE.txtar, that gives this code and no other.
func TestCodes(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, c := range Codes() {
		known[string(c.Code)+".txtar"] = true
		t.Run(string(c.Code), func(t *testing.T) {
			t.Parallel()
			if c.Severity != c.Code.severity() {
				t.Errorf("the table says %s, and severity() %s", c.Severity, c.Code.severity())
			}
			path := filepath.Join("testdata", "errors", string(c.Code)+".txtar")
			a := readExample(t, path)
			plan, diags := compileExample(t, a)
			if (plan == nil) != diags.HasErrors() {
				t.Errorf("plan %v, and errors: %v", plan, diags.HasErrors())
			}
			seen := false
			for _, d := range diags {
				seen = seen || d.Code == c.Code
				if d.Code != c.Code && c.Code != tooManyProblems {
					t.Errorf("also gives %s", d)
				}
			}
			if !seen {
				t.Errorf("does not give it, but:\n%s", diags)
			}
			if c.Code == tooManyProblems {
				diags = diags[len(diags)-1:]
			}
			golden(t, path, a, "diagnostics", diags.String())
		})
	}
	for _, path := range glob(t, "testdata/errors/*.txtar") {
		if !known[filepath.Base(path)] {
			t.Errorf("%s is the example of no code", path)
		}
	}
}

const errorsIntro = `# Errors, warnings and hints

What ` + "`otto validate`" + ` and every other door say about an Ottofile. A code never changes its meaning. Errors leave no plan;
warnings and hints do.

<!-- Written by go test ./pipeline -run TestErrorsDoc -update, from the table of codes and its examples. -->
`

// docs/errors.md is written from the table and the examples.
func TestErrorsDoc(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(errorsIntro)
	for _, c := range Codes() {
		a := readExample(t, filepath.Join("testdata", "errors", string(c.Code)+".txtar"))
		fmt.Fprintf(&b, "\n## %s: %s\n\n%s. %s\n", c.Code, c.Title, strings.ToUpper(string(c.Severity[:1]))+string(c.Severity[1:]),
			strings.TrimSpace(string(a.Comment)))
		for _, x := range a.Files {
			if x.Name == "Ottofile.yaml" || x.Name == "model" {
				fmt.Fprintf(&b, "\n```yaml\n%s```\n", x.Data)
			}
		}
		_, diags := compileExample(t, a)
		fmt.Fprintf(&b, "\n```text\n%s```\n", diags[len(diags)-1])
	}
	sameFile(t, "../docs/errors.md", b.String())
}

// sameFile compares a generated file with what it should be, or writes it.
func sameFile(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("%s is out of date (-is +should be); -update writes it:\n%s", path, diff)
	}
}
