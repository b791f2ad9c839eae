package pipeline

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what the tests see into golden files, docs and the schema")

// input gives the file of an example, and whether it is a posted model. "NAME.times" has lines "COUNT QUOTED" for files
// that are too long, or too broken, to stand in a txtar.
func input(t *testing.T, a *txtar.Archive) (f File, model bool) {
	t.Helper()
	for _, x := range a.Files {
		switch x.Name {
		case "Ottofile.yaml":
			return File{Name: x.Name, Data: x.Data}, false
		case "model":
			return File{Name: x.Name, Data: x.Data}, true
		case "Ottofile.yaml.times":
			return File{Name: "Ottofile.yaml", Data: times(t, string(x.Data))}, false
		}
	}
	t.Fatal("the example has no file")
	return File{}, false
}

func times(t *testing.T, text string) []byte {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(text) {
		count, quoted, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			t.Fatal(err)
		}
		part, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(strings.Repeat(part, n))
	}
	return []byte(b.String())
}

func compileExample(t *testing.T, a *txtar.Archive) (*Plan, Diagnostics) {
	t.Helper()
	f, model := input(t, a)
	if model {
		return FromModel(f.Data)
	}
	return Compile(f, exampleFacts(t, a))
}

// exampleFacts reads the file "facts.json" of an example: the event, and the parameters that are given. The example's files
// are the source.
func exampleFacts(t *testing.T, a *txtar.Archive) Facts {
	t.Helper()
	tree := treeOf{}
	facts := Facts{Tree: tree, Remotes: map[Remote]RemoteFile{}}
	for _, x := range a.Files {
		tree[x.Name] = x.Data
		if r, err := parseRemote(x.Name); err == nil { // a file that is named like a git source is one, fetched
			facts.Remotes[r] = RemoteFile{Commit: r.Ref, Data: x.Data}
		}
		if x.Name != "facts.json" {
			continue
		}
		d := json.NewDecoder(bytes.NewReader(x.Data))
		d.DisallowUnknownFields()
		said := struct {
			Event  *Event
			Params *map[string]any
			Limits *Limits
		}{&facts.Event, &facts.Params, &facts.Limits}
		if err := d.Decode(&said); err != nil {
			t.Fatalf("facts.json: %v", err)
		}
	}
	return facts
}

// treeOf is a source that a test has written down.
type treeOf map[string][]byte

func (f treeOf) ReadFile(path string) ([]byte, error) {
	data, ok := f[path]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
	}
	return data, nil
}

func (f treeOf) Digests(selected func(string) bool) (map[string]string, error) {
	out := map[string]string{}
	for path, data := range f {
		if selected(path) {
			out[path] = fmt.Sprintf("sha256:%x", sha256.Sum256(data))
		}
	}
	return out, nil
}

// golden compares a file of an example with what was seen, or writes it.
func golden(t *testing.T, path string, a *txtar.Archive, name, got string) {
	t.Helper()
	for i, x := range a.Files {
		if x.Name != name {
			continue
		}
		if *update {
			a.Files[i].Data = []byte(got)
			break
		}
		if diff := cmp.Diff(string(x.Data), got); diff != "" {
			t.Errorf("%s: %s differs (-want +got); -update writes it:\n%s", path, name, diff)
		}
		return
	}
	if !*update {
		t.Errorf("%s has no %s; -update writes it", path, name)
		return
	}
	if !hasFile(a, name) {
		a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(got)})
	}
	if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

func hasFile(a *txtar.Archive, name string) bool {
	for _, x := range a.Files {
		if x.Name == name {
			return true
		}
	}
	return false
}

func readExample(t *testing.T, path string) *txtar.Archive {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(paths), err)
	}
	return paths
}

// Each file of testdata/plans is an Ottofile, the facts (see exampleFacts), and what becomes of them: diagnostics, and a plan in
// short (plan.txt) or, if the file has one already, in full (plan.json).
func TestPlans(t *testing.T) {
	t.Parallel()
	for _, path := range glob(t, "testdata/plans/*.txtar") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a := readExample(t, path)
			plan, diags := compileExample(t, a)
			golden(t, path, a, "diagnostics", diags.String())
			if (plan == nil) != diags.HasErrors() {
				t.Fatalf("plan %v, and errors: %v", plan, diags.HasErrors())
			}
			if plan == nil {
				if hasFile(a, "plan.txt") || hasFile(a, "plan.json") {
					t.Errorf("%s has a plan, and there is none: remove it", path)
				}
				return
			}
			checkOrigins(t, a, plan)
			if hasFile(a, "origins") {
				golden(t, path, a, "origins", originLines(plan))
			}
			if !hasFile(a, "plan.json") {
				golden(t, path, a, "plan.txt", compact(t, plan))
				return
			}
			bare := *plan
			bare.Origins = nil
			body, err := json.MarshalIndent(bare, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, path, a, "plan.json", string(body)+"\n")
		})
	}
}

// originLines lists the origins in templates, for examples that ask for them.
func originLines(plan *Plan) string {
	var b strings.Builder
	for _, ptr := range slices.Sorted(maps.Keys(plan.Origins)) {
		if o := plan.Origins[ptr]; o.Template != "" {
			fmt.Fprintf(&b, "%s: %s:%d:%d in %s, used at %s\n", ptr, o.File, o.Line, o.Column, o.Template, o.Used)
		}
	}
	return b.String()
}
