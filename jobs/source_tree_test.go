package jobs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ottoci/otto/client/bundle"
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
)

// treeOf is a stored source with these files, which counts how often it is read.
func treeOf(t *testing.T, files map[string]string) (tree *sourceTree, dir string, reads *int) {
	t.Helper()
	dir, reads = t.TempDir(), new(int)
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	packed, err := bundle.Make(t.Context(), bundle.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = packed.Close() })
	return &sourceTree{open: func() (io.ReadCloser, error) { *reads++; return io.NopCloser(packed.Reader()), nil }}, dir, reads
}

// What is planned from a working tree must be what is planned from its bundle.
func TestSourceTree_is_the_working_tree(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"Ottofile.yaml": "steps", "ci/go.yaml": "inputs", "go.sum": "h1:…", "empty": "", "exec.sh": "#!/bin/sh",
		"large.yaml": strings.Repeat("x", maxFile+1), "large.bin": strings.Repeat("y", 3<<20), "a b/ü": "odd",
	}
	tree, dir, reads := treeOf(t, files)
	for name, to := range map[string]string{"link": "go.sum", "dir": "ci"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	working, err := bundle.List(t.Context(), bundle.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	everything := func(string) bool { return true }
	want, err := working.Digests(everything)
	if err != nil || len(want) != len(files) {
		t.Fatal(want, err)
	}
	got, err := tree.Digests(everything)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if some, err := tree.Digests(func(name string) bool { return name == "go.sum" }); err != nil || len(some) != 1 || some["go.sum"] != want["go.sum"] {
		t.Error(some, err)
	}
	for _, name := range []string{"ci/go.yaml", "./ci/go.yaml", "ci/../ci/go.yaml", "Ottofile.yaml"} {
		if data, err := tree.ReadFile(name); err != nil || string(data) != files[filepath.Clean(name)] {
			t.Errorf("read %s: %q, %v", name, data, err)
		}
	}
	if *reads != 1 {
		t.Errorf("the bundle was read %d times", *reads)
	}
	if data, err := tree.ReadFile("go.sum"); err != nil || string(data) != files["go.sum"] {
		t.Error(data, err)
	}
	for _, name := range []string{"nowhere", "link", "dir/go.yaml", "ci", "../go.sum", "/etc/passwd"} {
		_, one := working.ReadFile(name)
		_, other := tree.ReadFile(name)
		if !errors.Is(one, fs.ErrNotExist) || !errors.Is(other, fs.ErrNotExist) {
			t.Errorf("read %s: %v, %v", name, one, other)
		}
	}
	for _, name := range []string{"large.yaml", "large.bin"} {
		_, one := working.ReadFile(name)
		_, other := tree.ReadFile(name)
		if one == nil || other == nil || one.Error() != other.Error() {
			t.Errorf("read %s: %v, %v", name, one, other)
		}
	}
}

func TestSourceTree_that_cannot_be_read(t *testing.T) {
	t.Parallel()
	away := errors.New("the store is away")
	tree := &sourceTree{open: func() (io.ReadCloser, error) { return nil, away }}
	if _, err := tree.ReadFile("x"); !errors.Is(err, away) || errors.Is(err, fs.ErrNotExist) || !errors.Is(tree.broken, away) {
		t.Errorf("got %v, %v", err, tree.broken)
	}
	whole := archive(t, "a/../../out", "in")
	cut := &sourceTree{open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(whole[:len(whole)/2])), nil }}
	if _, err := cut.Digests(func(string) bool { return true }); err == nil || cut.broken == nil {
		t.Error("a bundle that was cut is whole")
	}
	out := &sourceTree{open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(whole)), nil }}
	if digests, err := out.Digests(func(string) bool { return true }); err != nil || len(digests) != 1 || digests["in"] == "" {
		t.Error(digests, err)
	}
}

// archive is a bundle of files of these names.
func archive(t *testing.T, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	files := tar.NewWriter(zip)
	for _, name := range names {
		body := []byte(strings.Repeat(name, 1000))
		if err := files.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(files.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A run is planned with what it was asked for, and with what is in its source; a rerun as well.
func TestSourcePlan_with_facts(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	const ottofile = `
params: { environment: { type: string, default: staging } }
env: { WHERE: "${{ params.environment }}", SUM: "${{ hash('go.sum') }}", BRANCH: "${{ branch }}" }
steps: [{ sh: make }]
`
	source := p.source(map[string]string{"Ottofile.yaml": ottofile, "go.sum": "h1"})
	run, err := p.q.RunCreate(t.Context(), db.RunCreateParams{
		Project: "p", Source: &source, Actor: "t",
		Event: json.RawMessage(`{"kind": "push", "branch": "main"}`), Params: json.RawMessage(`{"environment": "production"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	check := func(run int64) {
		t.Helper()
		p.eventually("the run is planned", func() bool { return p.state(run).State != "pending" })
		if got := p.state(run); got.State != "running" {
			t.Fatalf("the run is %s: %s", got.State, got.Diagnostics)
		}
		stored, err := p.q.PlanOfRun(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		var plan pipeline.Plan
		if err := json.Unmarshal(stored.Body, &plan); err != nil {
			t.Fatal(err)
		}
		env := plan.Stages[0].Tasks[0].Env
		if env["WHERE"] != "production" || env["BRANCH"] != "main" || len(env["SUM"]) != 64 || plan.Inputs.Event.Kind != pipeline.EventPush {
			t.Errorf("planned with %v, %+v", env, plan.Inputs)
		}
	}
	check(run.ID)
	if _, err := p.q.RunAbort(t.Context(), db.RunAbortParams{Run: run.ID, Actor: "t"}); err != nil {
		t.Fatal(err)
	}
	p.exec("update runs set plan_digest = null where id = $1", run.ID) // as if it had ended before it was planned
	again, err := p.q.RunRerun(t.Context(), db.RunRerunParams{Run: run.ID, Actor: "t"})
	if err != nil {
		t.Fatal(err)
	}
	check(again.ID)
}
