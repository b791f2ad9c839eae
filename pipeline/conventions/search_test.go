package conventions

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func markers(p Proposal) []string {
	var out []string
	for _, f := range p.Findings {
		out = append(out, f.Marker)
	}
	return out
}

// On a real disk: links in circles and out of the tree, and what is no file, are passed over.
func TestLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"real/go.mod": "module a", "real/a.go": "", "java/pom.xml": "", "Gemfile/x": ""} {
		check(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	for name, target := range map[string]string{
		"real/up": "..", "real/self": ".", "again": "real", "pom.xml": "java/pom.xml", "Makefile": "nowhere", "Cargo.toml": "Cargo.toml",
		"setup.py": "/etc/passwd", "java/package.json": "../java",
	} {
		check(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	check(t, syscall.Mkfifo(filepath.Join(dir, "Dockerfile"), 0o600)) // reading it would wait for ever
	root, err := os.OpenRoot(dir)
	check(t, err)
	defer root.Close()
	p := Propose(root.FS(), nil)
	if diff := cmp.Diff([]string{"pom.xml", "java/pom.xml", "real/go.mod"}, markers(p)); diff != "" {
		t.Errorf("markers (-want +got):\n%s", diff)
	}
	if len(p.LeftOut) > 0 {
		t.Errorf("left out: %v", p.LeftOut)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// closed is a tree of which some directories and files cannot be read.
type closed struct{ fstest.MapFS }

func (c closed) Open(name string) (fs.File, error) {
	if strings.HasPrefix(path.Base(name), "closed") || strings.HasPrefix(name, "locked/package") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return c.MapFS.Open(name)
}

func (c closed) ReadDir(name string) ([]fs.DirEntry, error) {
	if _, err := c.Open(name); err != nil {
		return nil, err
	}
	return c.MapFS.ReadDir(name)
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	p := Propose(closed{fstest.MapFS{
		"go.mod":              {Data: []byte("module a")},
		"closed/a.go":         {}, // nobody knows, so the module may have code
		"locked/package.json": {},
	}}, nil)
	want := []string{
		"go.mod → go vet ./..., go test ./...",
		"closed is left out: the directory cannot be read: permission denied",
		"locked/package.json is left out: it cannot be read: permission denied",
	}
	if diff := cmp.Diff(want, p.Reasons()); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	none := Propose(closed{}, []string{"."})
	if len(none.Findings) > 0 || none.Ottofile() != nil {
		t.Errorf("an empty tree gives %+v", none)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() // a MapFS is quadratic
	check(t, os.Mkdir(filepath.Join(dir, "zz"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "zz/pom.xml"), nil, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module a"), 0o600))
	for i := range maxDirs {
		check(t, os.MkdirAll(filepath.Join(dir, fmt.Sprintf("a/%04d", i)), 0o755))
	}
	p := Propose(os.DirFS(dir), nil)
	// The shallow come first; and a tree that was not seen whole may have Go code.
	if diff := cmp.Diff([]string{"go.mod", "zz/pom.xml"}, markers(p)); diff != "" {
		t.Errorf("markers (-want +got):\n%s", diff)
	}
	if len(p.LeftOut) != 1 || !strings.Contains(p.LeftOut[0].Why, "more than 5000 directories") {
		t.Errorf("left out: %v", p.LeftOut)
	}
}

// Whatever a tree is called and holds, its proposal compiles without a word, says the same twice, and no text of the
// tree is in a script.
func TestAnyTree(t *testing.T) {
	t.Parallel()
	known := knownScripts()
	names := rapid.OneOf(
		rapid.SampledFrom([]string{"web", "api", "spec", "test", "bin", "config", "yes", "1e3", "~", "a: b", "#", "-", "null", "${{", "...", "otto: allow x", "a # otto: allow"}),
		rapid.StringN(1, 8, 200).Filter(func(s string) bool { return !strings.Contains(s, "/") && fs.ValidPath(s) && s != "." }),
	)
	files := rapid.SampledFrom([]string{
		"go.mod", "a.go", "package.json", "package-lock.json", "pnpm-lock.yaml", "yarn.lock", "pnpm-workspace.yaml", "Cargo.toml",
		"Cargo.lock", "pyproject.toml", "requirements.txt", "setup.py", "tox.ini", "manage.py", "test_a.py", "uv.lock", "Gemfile",
		"Gemfile.lock", "Rakefile", "rails", "database.yml", "pom.xml", "mvnw", "build.gradle", "settings.gradle", "gradlew",
		"Makefile", "Dockerfile",
	})
	texts := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		`{"name": "# otto: allow", "scripts": {"build": "b"}}`,
		`{"name": "x: y", "scripts": {"test": "t", "lint": "l"}, "workspaces": ["*", "**/web"], "packageManager": "pnpm@1"}`,
		"[workspace]\nexclude = [\"web\"]\n[package]\nname = \"a\\u0000#\"\n", "[project]\nname = 'true'\n[tool.uv.workspace]\n",
		"[tool.poetry]",
		"packages:\n - '*'\n", "[testenv]", "test:\n\tx\n", "check: test", "task default: :x", "<module>web</module>", "module ${{x}}\n", "module a/null\n",
	}))
	rapid.Check(t, func(t *rapid.T) {
		tree := fstest.MapFS{}
		for range rapid.IntRange(0, 12).Draw(t, "files") {
			dirs := rapid.SliceOfN(names, 0, 4).Draw(t, "dirs")
			name := path.Join(append(slices.Clone(dirs), files.Draw(t, "file"))...)
			tree[name] = &fstest.MapFile{Data: []byte(texts.Draw(t, "text"))}
		}
		for name := range tree { // no file is also a directory
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				delete(tree, dir)
			}
		}
		p := Propose(tree, nil)
		if diff := cmp.Diff(p, Propose(tree, nil)); diff != "" {
			t.Fatalf("two proposals differ:\n%s", diff)
		}
		checkPlan(t, tree, p)
		for _, f := range p.Findings {
			for _, step := range f.Task.Steps {
				if !known[step.Sh] {
					t.Errorf("a script that nobody has read: %q", step.Sh)
				}
			}
		}
	})
}

// knownScripts are all that conventions can propose.
func knownScripts() map[string]bool {
	known := map[string]bool{}
	add := func(scripts ...string) {
		for _, script := range scripts {
			known[script] = true
		}
	}
	add("go vet ./...", "go test ./...", "make", "make test", "make check", "docker build .", "mvn -B verify", "./mvnw -B verify",
		"gradle --no-daemon build", "./gradlew --no-daemon build", "bundle install", "bundle exec rake", "bundle exec rake test",
		"rake", "rake test", "rspec", "bundle exec rspec", "bin/rails test", "bin/rails db:test:prepare", "python3 -m compileall -q .", "python3 -m venv .venv",
		".venv/bin/tox run -e py", ".venv/bin/python -m pytest", ".venv/bin/python manage.py test", "uv sync --locked", "uv run pytest",
		"uv run --with pytest pytest", "poetry install", "poetry run pytest", "poetry run pip install pytest",
		"npm ci", "pnpm install --frozen-lockfile", "yarn install --immutable", "yarn install --frozen-lockfile")
	for _, m := range []string{"npm", "pnpm", "yarn", "bun"} {
		add(m+" install", m+" run lint", m+" run build", m+" run test")
	}
	for _, verb := range []string{"build", "test"} {
		add("cargo "+verb, "cargo "+verb+" --locked", "cargo "+verb+" --workspace", "cargo "+verb+" --workspace --locked")
	}
	for _, packages := range []string{"tox", "pytest", "django", "-e .", "-e . pytest", "-r requirements.txt", "-r requirements.txt pytest",
		"-r requirements.txt -e .", "-r requirements.txt -e . pytest"} {
		add(".venv/bin/pip install " + packages)
	}
	return known
}
