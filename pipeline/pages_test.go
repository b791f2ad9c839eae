package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

const (
	pagesDir = "../docs/errors"

	pagesIntro = `# Errors, warnings and hints

What ` + "`otto validate`" + ` and every other door say about an Ottofile. A code never changes its meaning. Errors leave no plan;
warnings and hints do. ` + "`otto validate --explain CODE`" + ` prints a page in the terminal.

| code | | |
|---|---|---|
`
	pagesMark = "<!-- Written by go test ./pipeline -run TestErrorPages -update, from %s. -->\n"
)

// docs/errors has a page for each code, and an index, written from the table of codes and its examples.
func TestErrorPages(t *testing.T) {
	t.Parallel()
	wanted := map[string]bool{"README.md": true}
	var index strings.Builder
	index.WriteString(pagesIntro)
	for _, c := range Codes() {
		name := string(c.Code) + ".md"
		wanted[name] = true
		fmt.Fprintf(&index, "| [%s](%s) | %s | %s |\n", c.Code, name, c.Severity, c.Title)
		sameFile(t, filepath.Join(pagesDir, name), errorPage(t, c))
	}
	fmt.Fprintf(&index, "\n"+pagesMark, "the table of codes")
	sameFile(t, filepath.Join(pagesDir, "README.md"), index.String())
	for _, path := range glob(t, pagesDir+"/*.md") {
		if wanted[filepath.Base(path)] {
			continue
		}
		if *update {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		t.Errorf("%s is the page of no code; -update removes it", path)
	}
}

func errorPage(t *testing.T, c CodeInfo) string {
	t.Helper()
	a := readExample(t, examplePath(c.Code))
	_, diags := compileExample(t, a)
	meaning, how := exampleProse(a)
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n\n%s\n", c.Code, c.Title, wrap(meaning))
	b.WriteString("\n## What is wrong\n")
	for _, x := range a.Files {
		if !strings.HasPrefix(x.Name, fixedDir) && x.Name != "diagnostics" {
			writeFile(&b, x)
		}
	}
	fmt.Fprintf(&b, "\n## What Otto says\n\n```text\n%s```\n", exampleOutput(c.Code, diags))
	fmt.Fprintf(&b, "\n%s\n", consequence(c))
	fmt.Fprintf(&b, "\n## How to fix it\n\n%s\n", wrap(how))
	for _, x := range a.Files {
		if name, ok := strings.CutPrefix(x.Name, fixedDir); ok {
			writeFile(&b, txtar.File{Name: name, Data: x.Data})
		}
	}
	fmt.Fprintf(&b, "\n[All codes](README.md)\n\n"+pagesMark, filepath.Base(examplePath(c.Code)))
	return b.String()
}

// writeFile shows a file of an example.
func writeFile(b *strings.Builder, x txtar.File) {
	name, generated := strings.CutSuffix(x.Name, ".times")
	if name != "Ottofile.yaml" && name != "model" {
		fmt.Fprintf(b, "\n`%s`:\n", name)
	}
	if !generated {
		fmt.Fprintf(b, "\n```yaml\n%s```\n", x.Data)
		return
	}
	b.WriteString("\nThe file is too long, or too broken, to stand here. It is made of these parts, each as often as it says:\n\n```text\n")
	for line := range strings.Lines(string(x.Data)) {
		count, part, _ := strings.Cut(line, " ")
		fmt.Fprintf(b, "%6s × %s", count, part)
	}
	b.WriteString("```\n")
}

// consequence says what a problem does to the plan, and how to go on with it.
func consequence(c CodeInfo) string {
	words := map[Severity]string{
		SeverityError:   "This is an error: there is no plan, and nothing runs, until it is fixed.",
		SeverityWarning: "This is a warning: there is a plan, and it probably does not do what was meant.",
		SeverityHint:    "This is a hint: it leaves the plan as it is.",
	}[c.Severity]
	switch {
	case c.Code == tooManyProblems:
		return "This is a hint: what is shown says whether there is a plan."
	case c.Severity != SeverityError:
		words += " Where the file is right as it is, a [comment](../ottofile.md#warnings-and-hints) says so: " +
			"`# otto: allow " + string(c.Code) + "`."
	}
	return wrap(words)
}

// wrap breaks paragraphs into lines that a terminal shows whole.
func wrap(text string) string {
	const width = 110
	var b strings.Builder
	at := 0
	for word := range strings.FieldsSeq(strings.ReplaceAll(text, "\n\n", " \x00 ")) {
		switch {
		case word == "\x00":
			b.WriteString("\n\n")
			at = 0
			continue
		case at > 0 && at+1+len(word) > width:
			b.WriteByte('\n')
			at = 0
		case at > 0:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String()
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
