package pipeline

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// bombs are small files that would be large, or take long, if nothing bounded what templates make.
func bombs() map[string]string {
	times := strings.Repeat
	var doubling, texts strings.Builder
	doubling.WriteString("templates:\n  t0: { steps: [{ sh: a }] }\n")
	texts.WriteString("templates:\n  t0: { inputs: { x: { type: string } }, steps: [{ sh: a, env: { X: \"${{ inputs.x }}\" } }] }\n")
	for i := 1; i < maxTemplateDepth; i++ {
		fmt.Fprintf(&doubling, "  t%d: { steps: [%s] }\n", i, times(fmt.Sprintf("{ use: t%d }, ", i-1), 12))
		fmt.Fprintf(&texts, "  t%d: { inputs: { x: { type: string } }, steps: [{ use: t%d, with: { x: \"%s\" } }] }\n", i, i-1, times("${{ inputs.x }}", 50))
	}
	doubling.WriteString("steps: [{ use: t7 }]\n")
	texts.WriteString("steps: [{ use: t7, with: { x: \"" + times("x", 50) + "\" } }]\n")
	signs := strings.Replace(texts.String(), `x: "`+times("x", 50), `x: "$`+times("x", 50), 1)
	large := "templates: { t: { inputs: { x: { type: list } }, tasks: [" + times("{ env: { A: b, C: d } }, ", 300) + "] } }\nstages:\n- parallel:\n" + times("  - use: t\n", 900)
	lists := "templates: { t: { inputs: { x: { type: map } }, steps: [{ sh: a, env: \"${{ inputs.x }}\" }] } }\nsteps:\n" +
		times("- { use: t, with: { x: { "+manyKeys(300)+" } } }\n", 60)
	copies := "templates: { t: { inputs: { x: { type: list } }, steps: [" + times(`{ sh: a, env: { A: "${{ inputs.x }}" } }, `, 400) + "] } }\n" +
		"steps: [{ use: t, with: { x: [" + times("a, ", 5000) + "] } }]\n"
	return map[string]string{
		"doubling": doubling.String(), "texts": texts.String(), "signs": signs, "large": large, "lists": lists, "copies": copies,
		"uses": "templates: { t: { steps: [{ sh: a }] } }\nsteps:\n" + times("- use: t\n", 5000),
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "K%d: v, ", i)
	}
	return b.String()
}

func TestTemplateBombs(t *testing.T) {
	for name, text := range bombs() {
		best, tries := time.Hour, 0
		for ; best > time.Second && tries < 5; tries++ {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			plan, diags := Compile(File{Name: "Ottofile.yaml", Data: []byte(text)}, Facts{})
			best = min(best, time.Since(began))
			runtime.ReadMemStats(&after)
			if made := after.TotalAlloc - before.TotalAlloc; made > 400<<20 {
				t.Errorf("%s makes %d MB", name, made>>20)
			}
			bounded := func(d Diagnostic) bool { return d.Code == templateBounds || d.Code == tooMuch }
			if name != "lists" && name != "large" && !slices.ContainsFunc(diags, bounded) {
				t.Errorf("%s: plan %v, and no word of the bounds:\n%.500s", name, plan != nil, diags)
			}
		}
		if best > time.Second {
			t.Errorf("%s takes %s", name, best)
		}
	}
}

// Files are read once, and each once only, however often they are used.
func TestTemplateFileBounds(t *testing.T) {
	t.Parallel()
	tree := treeOf{}
	var many, large strings.Builder
	many.WriteString("steps:\n")
	large.WriteString("steps:\n")
	for i := range maxTemplateFiles + 1 {
		tree[fmt.Sprintf("t%d.yaml", i)] = []byte("steps: [{ sh: a }]\n")
		fmt.Fprintf(&many, "- use: ./t%d.yaml\n", i)
	}
	for i := range 3 {
		tree[fmt.Sprintf("large%d.yaml", i)] = []byte("steps: [{ sh: \"" + strings.Repeat("a", 400<<10) + "\" }]\n")
		fmt.Fprintf(&large, "- use: ./large%d.yaml\n", i)
	}
	for name, text := range map[string]string{"more than 100 files": many.String(), "more than 1048576 bytes": large.String()} {
		_, diags := Compile(File{Name: "Ottofile.yaml", Data: []byte(text)}, Facts{Tree: tree})
		if len(diags) != 1 || diags[0].Code != templateBounds || !strings.Contains(diags[0].Message, strings.TrimPrefix(name, "more than ")[:7]) {
			t.Errorf("%s:\n%.1000s", name, diags)
		}
	}
}

func TestParseRemote(t *testing.T) {
	t.Parallel()
	commit := strings.Repeat("0a", 20)
	for text, want := range map[string]Remote{
		"git+https://example.org/ci.git//go.yaml@" + commit:     {"https://example.org/ci.git", commit, "go.yaml"},
		"git+ssh://git@example.org:22/a/ci//x/go.yaml@v1.2/rc":  {"ssh://git@example.org:22/a/ci", "v1.2/rc", "x/go.yaml"},
		"git+file:///srv/ci.git//go@home.yaml@main":             {"file:///srv/ci.git", "main", "go@home.yaml"},
		"git+https://user@example.org/ci.git//go.yaml@main":     {"https://user@example.org/ci.git", "main", "go.yaml"},
		"git+http://example.org/ci.git//go.yaml@main":           {},
		"git+ext::sh -c x//go.yaml@main":                        {},
		"git+https://u:p@example.org/ci.git//go.yaml@main":      {},
		"git+ssh://-oProxyCommand=x/ci.git//go.yaml@main":       {},
		"git+https://example.org/ci.git//../go.yaml@main":       {},
		"git+https://example.org/ci.git///go.yaml@main":         {},
		"git+https://example.org/ci.git//go.yaml@--upload-pack": {},
		"git+https://example.org/ci.git//go.yaml@a..b":          {},
		"git+https://example.org/ci.git//go.yaml":               {},
		"git+https://example.org/ci.git/go.yaml@main":           {},
		"git+file://srv/ci.git//go.yaml@main":                   {},
		"git+":                                                  {},
	} {
		got, err := parseRemote(text)
		if got != want || (err == nil) != (want.Repo != "") || err == nil && got.String() != text {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	digest := digestOf(nil)
	lock := Lock{Version: lockVersion, Templates: map[string]LockEntry{
		"b.yaml": {Digest: digest}, "a.yaml": {Digest: digest}, "git+https://x/y//<z>@v1": {Commit: strings.Repeat("a", 40), Digest: digest},
	}}
	data, err := lock.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseLock(data)
	if diff := cmp.Diff(lock, again); err != nil || diff != "" || !strings.Contains(string(data), "<z>") {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, bad := range []string{
		"", "[]", "{}", `{"version": 2, "templates": {}}`, `{"version": 1, "templates": {}} x`, `{"version": 1, "template": {}}`,
		`{"version": 1, "templates": {"a": {"digest": "sha256:1"}}}`, `{"version": 1, "templates": {"a": {"digest": "` + digest + `", "commit": "main"}}}`,
	} {
		if l, err := ParseLock([]byte(bad)); err == nil {
			t.Errorf("%q is read as %v", bad, l)
		}
	}
	other := Lock{Templates: map[string]LockEntry{"b.yaml": {Digest: digestOf([]byte("x"))}, "c.yaml": {Digest: digest}}}
	want := []string{
		"added a.yaml", "added git+https://x/y//<z>@v1", "changed b.yaml: " + digestOf([]byte("x")) + " to " + digest, "removed c.yaml",
	}
	if diff := cmp.Diff(want, lock.Changes(other)); diff != "" {
		t.Error(diff)
	}
}

// What a file needs is known step by step: a source that is there may need others.
func TestResolveStepByStep(t *testing.T) {
	t.Parallel()
	f := File{Name: "Ottofile.yaml", Data: []byte(`steps: [{ use: "git+https://example.org/ci.git//a.yaml@v1" }, { use: ./own.yaml }]`)}
	commit := strings.Repeat("1", 40)
	a, b := Remote{"https://example.org/ci.git", "v1", "a.yaml"}, Remote{"https://example.org/ci.git", "v1", "b.yaml"}
	facts := Facts{Tree: treeOf{"own.yaml": []byte("steps: [{ sh: own }]\n")}, Remotes: map[Remote]RemoteFile{}}
	for _, step := range []struct {
		missing Remote
		text    string
	}{{a, "steps: [{ use: ./b.yaml }]\n"}, {b, "steps: [{ sh: b }]\n"}} {
		found, _ := Resolve(f, facts)
		if diff := cmp.Diff([]Remote{step.missing}, found.Missing); diff != "" {
			t.Fatal(diff)
		}
		facts.Remotes[step.missing] = RemoteFile{Commit: commit, Data: []byte(step.text)}
	}
	found, diags := Resolve(f, facts)
	if len(found.Missing) > 0 || diags.HasErrors() || len(found.Lock.Templates) != 3 {
		t.Fatalf("%+v\n%s", found, diags)
	}

	// By the lock, planning needs the commits, and nothing of branches and tags.
	data, err := found.Lock.Encode()
	if err != nil {
		t.Fatal(err)
	}
	planning := Facts{Tree: treeOf{"own.yaml": []byte("steps: [{ sh: own }]\n"), LockFile: data}, Remotes: map[Remote]RemoteFile{}}
	for _, r := range []Remote{a, b} {
		pinned := Remote{r.Repo, commit, r.Path}
		if diff := cmp.Diff([]Remote{pinned}, MissingRemotes(f, planning)); diff != "" {
			t.Fatal(diff)
		}
		planning.Remotes[pinned] = facts.Remotes[r]
	}
	if plan, diags := Compile(f, planning); plan == nil || len(plan.Stages[0].Tasks[0].Steps) != 2 {
		t.Fatal(diags)
	}
}

// FuzzTemplates proves that templates never panic, and that a file with a template, a lock and a git source gives the same plan
// each time it is read.
func FuzzTemplates(f *testing.F) {
	commit := strings.Repeat("0", 40)
	for _, seed := range [][3]string{
		{"steps: [{ use: ./t.yaml }]", "steps: [{ sh: x }]", ""},
		{"stages:\n- { use: ./t.yaml, with: { a: \"1\" } }", "inputs: { a: {} }\ntask: { task: \"${{ inputs.a }}\", steps: [{ sh: x }] }", `{"version":1,"templates":{}}`},
		{"templates: { a: { steps: [{ use: b }] }, b: { steps: [{ use: a }] } }\nsteps: [{ use: a }]", "", ""},
		{"templates: { a: { inputs: { l: { type: list }, m: { type: map, default: {} } }, tasks: [{ task: x, env: \"${{ inputs.m }}\", steps: \"${{ inputs.l }}\" }] } }\n" +
			"stages: [{ mode: fanout, use: a, with: { l: [{ sh: x }, { use: ./t.yaml }] } }]", "templates: { q: { steps: [{ sh: y }] } }\nsteps: [{ use: q }]", "{"},
		{"steps: [{ use: \"git+https://h/r//t.yaml@" + commit + "\", with: { a: \"${{ branch }}\" } }]", "inputs: { a: b }\nsteps: [{ sh: x, when: inputs.a == \"\", env: { A: \"$${{ inputs.a }} ${{ inputs.a + '}}' }}\" } }]", ""},
		{"always: [{ <<: &u { use: ./t.yaml } }, *u]\nstages: []", "stages: [{ stage: a, parallel: [{ task: b, use: ./t.yaml }] }]", ""},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]), []byte(seed[2]))
	}
	f.Fuzz(func(t *testing.T, main, template, lock []byte) {
		tree := treeOf{"t.yaml": template}
		if len(lock) > 0 {
			tree[LockFile] = lock
		}
		facts := Facts{Tree: tree, Remotes: map[Remote]RemoteFile{
			{"https://h/r", commit, "t.yaml"}: {Commit: commit, Data: template}, {"https://h/r", "v1", "t.yaml"}: {Commit: commit, Data: template},
		}}
		file := File{Name: "Ottofile.yaml", Data: main}
		plan, diags := Compile(file, facts)
		again, sameDiags := Compile(file, facts)
		if (plan == nil) != diags.HasErrors() {
			t.Fatalf("plan %v, but diagnostics:\n%s", plan != nil, diags)
		}
		if diff := cmp.Diff(plan, again) + cmp.Diff(diags, sameDiags); diff != "" {
			t.Fatalf("the second reading differs:\n%s", diff)
		}
		if plan != nil {
			for ptr := range planLeaves(t, plan) {
				if _, ok := plan.Origins[ptr]; !ok {
					t.Fatalf("%s has no origin", ptr)
				}
			}
		}
		if found, diags := Resolve(file, facts); len(found.Missing) == 0 && !diags.HasErrors() && found.Lock.Version != lockVersion {
			t.Fatal("no lock")
		}
		MissingRemotes(file, facts)
	})
}
