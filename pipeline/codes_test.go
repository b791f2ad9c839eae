package pipeline

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// Each code has an example, testdata/errors/CODE.txtar:
//
//	What it means, in a paragraph.
//
//	How to fix it, in another.
//
//	-- Ottofile.yaml --      an example that gives this code and no other
//	-- fixed/Ottofile.yaml -- what it should have been: it gives nothing at all
//	-- diagnostics --        what Otto says about the example; -update writes it
//
// Other files of the example stand beside it; those below fixed/ take the place of theirs.
func TestCodes(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, c := range Codes() {
		known[string(c.Code)+".txtar"] = true
		t.Run(string(c.Code), func(t *testing.T) {
			t.Parallel()
			path := examplePath(c.Code)
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
			golden(t, path, a, "diagnostics", exampleOutput(c.Code, diags))
		})
	}
	for _, path := range glob(t, "testdata/errors/*.txtar") {
		if !known[filepath.Base(path)] {
			t.Errorf("%s is the example of no code", path)
		}
	}
}

// The fixed example of each code is as good as an Ottofile can be.
func TestCodesFixed(t *testing.T) {
	t.Parallel()
	for _, c := range Codes() {
		t.Run(string(c.Code), func(t *testing.T) {
			t.Parallel()
			a := readExample(t, examplePath(c.Code))
			good, ok := fixed(a)
			if !ok {
				t.Fatalf("%s says what is wrong, and not what is right: add a file \"-- fixed/Ottofile.yaml --\" "+
					"(or fixed/model) before \"-- diagnostics --\", as a person would write the example without the mistake",
					examplePath(c.Code))
			}
			if _, how := exampleProse(a); how == "" {
				t.Errorf("%s does not say how to fix it: write it in a second paragraph of the text at its top, "+
					"below what the code means", examplePath(c.Code))
			}
			plan, diags := compileExample(t, good)
			if plan == nil || len(diags) > 0 {
				t.Errorf("the fixed example gives:\n%s", diags)
			}
		})
	}
}

func examplePath(c Code) string {
	return filepath.Join("testdata", "errors", string(c)+".txtar")
}

// exampleProse is what the top of an example says: what the code means, and how to fix it.
func exampleProse(a *txtar.Archive) (meaning, how string) {
	meaning, how, _ = strings.Cut(strings.TrimSpace(string(a.Comment)), "\n\n")
	return meaning, strings.TrimSpace(how)
}

// exampleOutput is what a page shows: all that Otto says, but of 200 problems the one that it is about.
func exampleOutput(c Code, diags Diagnostics) string {
	if c == tooManyProblems && len(diags) > 0 {
		diags = diags[len(diags)-1:]
	}
	return diags.String()
}

const fixedDir = "fixed/"

// fixed is the example without its mistake.
func fixed(a *txtar.Archive) (*txtar.Archive, bool) {
	out := &txtar.Archive{}
	for _, x := range a.Files {
		if name, ok := strings.CutPrefix(x.Name, fixedDir); ok {
			out.Files = append(out.Files, txtar.File{Name: name, Data: x.Data})
		}
	}
	found := len(out.Files) > 0
	for _, x := range a.Files {
		if !strings.HasPrefix(x.Name, fixedDir) && !hasFile(out, strings.TrimSuffix(x.Name, ".times")) {
			out.Files = append(out.Files, x)
		}
	}
	return out, found
}
