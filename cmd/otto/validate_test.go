package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ottoci/otto/pipeline"
)

// sarifSchema is our reduction of the standard's schema.
func sarifSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile("testdata/sarif.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// everyProblem is what the examples of all codes give.
func everyProblem(t *testing.T) pipeline.Diagnostics {
	t.Helper()
	paths, err := filepath.Glob("../../pipeline/testdata/errors/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal(len(paths), err)
	}
	var all pipeline.Diagnostics
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range a.Files {
			if x.Name == "Ottofile.yaml" {
				_, diags := pipeline.Compile(pipeline.File{Name: filepath.Base(path) + "/Ottofile.yaml", Data: x.Data}, pipeline.Facts{})
				all = append(all, diags...)
			}
		}
	}
	return all
}

func TestSARIF(t *testing.T) {
	t.Parallel()
	all := everyProblem(t)
	for name, diags := range map[string]pipeline.Diagnostics{"of_every_code": all, "of_nothing": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := json.Marshal(newSARIF("1.2.3", diags))
			if err != nil {
				t.Fatal(err)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if err := sarifSchema(t).Validate(doc); err != nil {
				t.Error(err)
			}
			var read sarif
			if err := json.Unmarshal(body, &read); err != nil || len(read.Runs[0].Results) != len(diags) {
				t.Fatalf("%d results of %d diagnostics, %v", len(read.Runs[0].Results), len(diags), err)
			}
			rules := read.Runs[0].Tool.Driver.Rules
			for i, r := range read.Runs[0].Results {
				d, at := diags[i], r.Locations[0].PhysicalLocation
				if rules[r.RuleIndex].ID != string(d.Code) || r.RuleID != string(d.Code) || r.Message.Text != d.Message ||
					at.Region.StartLine != d.Line || at.Region.StartColumn != d.Column || at.Region.EndColumn <= d.Column ||
					r.Properties["suggestion"] != d.Suggestion || at.ArtifactLocation.URI != d.File {
					t.Errorf("%s became %+v", d, r)
				}
			}
		})
	}
	if len(all) < 40 {
		t.Errorf("only %d problems", len(all))
	}
}

func TestArtifact(t *testing.T) {
	t.Parallel()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]sarifArtifact{
		"Ottofile.yaml":                        {"Ottofile.yaml", "%SRCROOT%"},
		"ci/my file#1.yaml":                    {"ci/my%20file%231.yaml", "%SRCROOT%"},
		"a:b/Ottofile":                         {"./a:b/Ottofile", "%SRCROOT%"},
		filepath.Join(dir, "ci/Ottofile.yaml"): {"ci/Ottofile.yaml", "%SRCROOT%"},
		"/elsewhere/Ottofile.yaml":             {"file:///elsewhere/Ottofile.yaml", ""},
	} {
		if got := artifact(path); got != want {
			t.Errorf("%s is %+v, want %+v", path, got, want)
		}
	}
}

// Each code has a page in the binary, and a terminal shows it without the marks of Markdown.
func TestEveryCodeIsExplained(t *testing.T) {
	t.Parallel()
	for _, c := range pipeline.Codes() {
		var out bytes.Buffer
		a := &app{stdout: &out, stderr: &out}
		if status := a.main(t.Context(), []string{"validate", "--explain", string(c.Code)}); status != codeOK {
			t.Errorf("%s answers %d: %s", c.Code, status, &out)
		}
		text := out.String()
		if !strings.HasPrefix(text, string(c.Code)+": "+c.Title+"\n") || strings.Contains(text, "```") || strings.Contains(text, "](") ||
			strings.Contains(text, "<!--") {
			t.Errorf("%s is explained by\n%s", c.Code, text)
		}
	}
}
