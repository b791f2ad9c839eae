package pipeline

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestExamples(t *testing.T) {
	t.Parallel()
	for _, path := range glob(t, "../examples/*/Ottofile.yaml") {
		tree := directory(filepath.Dir(path))
		if plan, diags := Compile(File{Name: "Ottofile.yaml", Data: readFile(t, path)}, Facts{Tree: tree}); plan == nil || len(diags) > 0 {
			t.Errorf("%s", diags)
		}
	}
}

var fenced = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// Every YAML block of the reference is a whole Ottofile that compiles, or a fragment that says so: "# in a task".
func TestReference(t *testing.T) {
	t.Parallel()
	doc := string(readFile(t, "../docs/ottofile.md"))
	wrap := map[string]string{
		"# in a file\n":  "%s\nsteps: [{sh: ./x}]\n",
		"# in a task\n":  "stages:\n- parallel:\n  - task: x\n%s\n    steps: [{sh: ./x}]\n",
		"# in a step\n":  "steps:\n- sh: ./x\n%s\n",
		"# in a stage\n": "stages:\n%s\n",

		"# ci/deploy.yaml\n": "templates:\n  x:\n%s\nstages: [{use: x, with: {target: staging}}]\n",
	}
	blocks := fenced.FindAllStringSubmatch(doc, -1)
	facts := referenceFacts(blocks)
	if len(blocks) < 5 {
		t.Fatalf("%d examples", len(blocks))
	}
	for _, b := range blocks {
		text := b[1]
		for mark, frame := range wrap {
			if rest, ok := strings.CutPrefix(text, mark); ok {
				indent := map[string]string{"# in a task\n": "    ", "# in a step\n": "  ", "# ci/deploy.yaml\n": "    "}[mark]
				text = strings.Replace(frame, "%s", indent+strings.ReplaceAll(strings.TrimSpace(rest), "\n", "\n"+indent), 1)
			}
		}
		if plan, diags := Compile(File{Name: "ottofile.md", Data: []byte(text)}, facts); plan == nil || len(diags) > 0 {
			t.Errorf("the example\n%s\ngives:\n%s", text, diags)
		}
	}
}

// referenceFacts makes the files that the reference uses: those that it shows, and the git source that it speaks of.
func referenceFacts(blocks [][]string) Facts {
	facts := Facts{Tree: treeOf{}, Remotes: map[Remote]RemoteFile{}}
	for _, b := range blocks {
		if text, ok := strings.CutPrefix(b[1], "# ci/deploy.yaml\n"); ok {
			facts.Tree = treeOf{"ci/deploy.yaml": []byte(text)}
		}
		for _, use := range gitUse.FindAllString(b[1], -1) {
			if r, err := parseRemote(use); err == nil {
				facts.Remotes[r] = RemoteFile{Commit: r.Ref, Data: []byte("steps: [{sh: ./check}]\n")}
			}
		}
	}
	return facts
}

var gitUse = regexp.MustCompile(`git\+https://\S+@[0-9a-f]{40}`)

// directory is a source in the file system.
type directory string

func (d directory) ReadFile(path string) ([]byte, error) {
	return fs.ReadFile(os.DirFS(string(d)), path)
}

func (d directory) Digests(func(string) bool) (map[string]string, error) {
	return nil, errors.ErrUnsupported
}

// The reference speaks of every key, and of no other.
func TestReferenceIsComplete(t *testing.T) {
	t.Parallel()
	doc := string(readFile(t, "../docs/ottofile.md"))
	l := newLanguage()
	var keys []string
	for _, names := range [][]string{l.file.names(), l.stage.names(), l.task.names(), l.step.names(), l.retries.names(), l.param.names(),
		l.triggers.names(), l.schedule.names(), l.environment.names(), l.concurrency.names(), filterObject("push").names(), filterObject("pull_request").names(),
		filterObject("tag").names(), filterObject("upstream").names(), l.protection.names(), l.mayAdd.names(), l.image.names(), l.mount.names(), l.service.names(), l.health.names(), l.template.names(), l.input.names()} {
		keys = append(keys, names...)
	}
	for _, k := range keys {
		if !strings.Contains(doc, "| `"+k+"` |") {
			t.Errorf("no table has the key %s", k)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(doc, -1) {
		if !slices.Contains(keys, m[1]) {
			t.Errorf("a table has the key %s, which is none", m[1])
		}
	}
}
