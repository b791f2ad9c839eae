package pipeline

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func TestSchemaIsUpToDate(t *testing.T) {
	t.Parallel()
	body, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Schema()
	if err != nil || !bytes.Equal(body, again) {
		t.Fatalf("the second schema differs, %v", err)
	}
	sameFile(t, "ottofile.schema.json", string(body))
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	body, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("ottofile.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("ottofile.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance is the file as an editor's YAML reader gives it to a schema.
func instance(t *testing.T, data []byte) any {
	t.Helper()
	body, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// schemaSees tells the problems that a schema can see: they are in one object, and in what YAML makes of the text (and not in
// what an expression gives).
func schemaSees(c Code) bool {
	switch c {
	case unknownKey, notYet, misplacedKey, wrongType, missingKey, conflictingKeys, nothingToRun, unknownMode, bareStep,
		emptyScript, badEnvName, reservedEnv, badEnvValue, badExitCode, unknownOutcome, badRetries, badOnLost, badName:
		return true
	}
	return false
}

// The schema and the decoder come from one table; this shows that they agree on every example.
func TestSchemaAgrees(t *testing.T) {
	t.Parallel()
	s := compiledSchema(t)
	paths := append(glob(t, "testdata/plans/*.txtar"), glob(t, "testdata/errors/*.txtar")...)
	for _, path := range append(paths, glob(t, "testdata/schema/*.txtar")...) {
		a := readExample(t, path)
		for _, x := range a.Files {
			if !strings.HasSuffix(x.Name, "Ottofile.yaml") {
				continue
			}
			agree(t, s, filepath.Base(path)+" "+x.Name, x.Data, exampleFacts(t, a))
		}
	}
	for _, path := range glob(t, "../examples/*/Ottofile.yaml") {
		agree(t, s, path, readFile(t, path), Facts{Tree: directory(filepath.Dir(path))})
	}
}

func agree(t *testing.T, s *jsonschema.Schema, name string, data []byte, facts Facts) {
	t.Helper()
	_, diags := Compile(File{Name: "Ottofile.yaml", Data: data}, facts)
	visible := false
	for _, d := range diags {
		// What is wrong only once a template is used, or an expression worked out, is beyond a schema.
		line, _, _ := strings.Cut(textAt(string(data), Origin{Line: d.Line, Column: d.Column}), "\n")
		visible = visible || schemaSees(d.Code) && d.File == "Ottofile.yaml" && d.Used == "" && !strings.Contains(line, "${{")
	}
	if diags.HasErrors() && !visible {
		return
	}
	err := s.Validate(instance(t, data))
	if (err != nil) != diags.HasErrors() {
		t.Errorf("%s: the schema says %v, and the decoder\n%s", name, err, diags)
	}
}

// Every key has words, and the later ones are not in the language yet.
func TestEveryKeyIsDescribed(t *testing.T) {
	t.Parallel()
	var schema struct {
		Properties map[string]struct{ Description string }
		Defs       map[string]struct {
			Properties map[string]struct{ Description string }
		} `json:"$defs"`
	}
	body, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &schema); err != nil {
		t.Fatal(err)
	}
	l := newLanguage()
	check := func(object, key, words string) {
		if words == "" {
			t.Errorf("%s.%s has no description", object, key)
		}
		if later, ok := l.later[key]; ok {
			t.Errorf("%s.%s is here, and is announced for later as %s", object, key, later)
		}
	}
	for k, v := range schema.Properties {
		check("file", k, v.Description)
	}
	for name, def := range schema.Defs {
		for k, v := range def.Properties {
			check(name, k, v.Description)
		}
	}
}
