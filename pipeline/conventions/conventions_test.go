package conventions

import (
	"cmp"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/ottoci/otto/pipeline"
)

var update = flag.Bool("update", false, "write what the tests see into golden files")

// example is a case: the tree above, what is made of it below.
type example struct {
	path    string
	archive *txtar.Archive
	tree    fstest.MapFS
	ignored []string
}

// readExample reads a case. Files below "tree/" make up the tree; "made" has lines "PATH COUNT TEXT", with path and text
// quoted, for what a txtar cannot hold; "ignored" lists what git ignores.
func readExample(t *testing.T, path string) example {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e := example{path: path, archive: a, tree: fstest.MapFS{}}
	for _, f := range a.Files {
		name, inTree := strings.CutPrefix(f.Name, "tree/")
		switch {
		case inTree:
			e.tree[name] = &fstest.MapFile{Data: f.Data}
		case f.Name == "ignored":
			e.ignored = strings.Fields(string(f.Data))
		case f.Name == "made":
			for line := range strings.Lines(string(f.Data)) {
				e.make(t, strings.TrimSpace(line))
			}
		}
	}
	return e
}

func (e *example) make(t *testing.T, line string) {
	t.Helper()
	quoted, err := strconv.QuotedPrefix(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	count, text, _ := strings.Cut(strings.TrimSpace(line[len(quoted):]), " ")
	name, err1 := strconv.Unquote(quoted)
	times, err2 := strconv.Atoi(count)
	body, err3 := strconv.Unquote(text)
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(line, err1, err2, err3)
	}
	e.tree[name] = &fstest.MapFile{Data: []byte(strings.Repeat(body, times))}
}

// golden compares a file of the case with what was seen, or writes it.
func (e *example) golden(t *testing.T, name, got string) {
	t.Helper()
	i := slices.IndexFunc(e.archive.Files, func(f txtar.File) bool { return f.Name == name })
	if !*update {
		if i < 0 {
			t.Fatalf("%s has no %s; -update writes it", e.path, name)
		}
		if diff := gocmp.Diff(string(e.archive.Files[i].Data), got); diff != "" {
			t.Errorf("%s: %s differs (-want +got); -update writes it:\n%s", e.path, name, diff)
		}
		return
	}
	if i < 0 {
		e.archive.Files = append(e.archive.Files, txtar.File{Name: name})
		i = len(e.archive.Files) - 1
	}
	e.archive.Files[i].Data = []byte(got)
	if err := os.WriteFile(e.path, txtar.Format(e.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestProposals(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < 25 {
		t.Fatalf("%d cases, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			e := readExample(t, path)
			p := Propose(e.tree, e.ignored)
			e.golden(t, "reasons", strings.Join(append(p.Reasons(), ""), "\n"))
			e.golden(t, "Ottofile.yaml", string(p.Ottofile()))
			checkPlan(t, e.tree, p)
		})
	}
}

// The page for users names what is recognised and what is not searched.
func TestPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/conventions.md")
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Concat(skipped(), pythonMarkers(), []string{
		"go.mod", nodeMarker, "Cargo.toml", "Gemfile", "Rakefile", "pom.xml", "settings.gradle", "Makefile", "Dockerfile",
	})
	for _, m := range nodeManagers() {
		names = append(names, m.lock, m.install)
	}
	for _, name := range names {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/conventions.md does not speak of %s", name)
		}
	}
}

// checkPlan compiles a proposal: without a diagnostic, and to the tasks and steps that were found.
func checkPlan(t interface{ Errorf(string, ...any) }, tree fs.FS, p Proposal) {
	body := p.Ottofile()
	if len(p.Findings) == 0 {
		if body != nil {
			t.Errorf("nothing was found, and the Ottofile is\n%s", body)
		}
		return
	}
	plan, diagnostics := pipeline.Compile(pipeline.File{Name: "Ottofile.yaml", Data: body}, pipeline.Facts{})
	if len(diagnostics) > 0 || plan == nil {
		t.Errorf("%s\nof\n%s", diagnostics, body)
		return
	}
	if plan.Name != p.Name {
		t.Errorf("the name is %q, want %q", plan.Name, p.Name)
	}
	tasks := map[string]pipeline.Task{}
	for _, s := range plan.Stages {
		for _, task := range s.Tasks {
			tasks[task.Name] = task
		}
	}
	if len(tasks) != len(p.Findings) {
		t.Errorf("%d tasks of %d findings:\n%s", len(tasks), len(p.Findings), body)
	}
	for _, f := range p.Findings {
		var planned []Step
		for _, step := range tasks[f.Task.Name].Steps {
			planned = append(planned, Step{Sh: step.Sh, Dir: cmp.Or(step.Dir, ".")})
			if info, err := fs.Stat(tree, cmp.Or(step.Dir, ".")); err != nil || !info.IsDir() {
				t.Errorf("the step %q starts in %q: %v", step.Sh, step.Dir, err)
			}
		}
		if diff := gocmp.Diff(f.Task.Steps, planned); diff != "" {
			t.Errorf("the task %q has other steps (-want +got):\n%s", f.Task.Name, diff)
		}
		if tasks[f.Task.Name].TimeoutMS != int64(f.Task.Minutes)*60_000 {
			t.Errorf("the task %q may take %d ms", f.Task.Name, tasks[f.Task.Name].TimeoutMS)
		}
	}
}
