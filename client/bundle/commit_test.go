package bundle_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ottoci/otto/client/bundle"
)

func TestCommit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	environ := append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "HOME="+dir)
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
		cmd.Env = environ
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "-q")
	write("web/Ottofile.yaml", "one\n")
	write("web/src/a b.txt", "")
	write("other.txt", "x")
	if err := os.Symlink("Ottofile.yaml", filepath.Join(dir, "web/link")); err != nil {
		t.Fatal(err)
	}
	git("add", ".")
	git("commit", "-qm", "one")
	write("web/Ottofile.yaml", "two\n")
	git("commit", "-qam", "two")

	c, err := bundle.OpenCommit(t.Context(), filepath.Join(dir, "web"), "HEAD~1", append(environ, "GIT_DIR=/nowhere"))
	if err != nil {
		t.Fatal(err)
	}
	if data, err := c.ReadFile("Ottofile.yaml"); err != nil || string(data) != "one\n" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := c.ReadFile("other.txt"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file above the start: %v", err)
	}
	if names := c.Names("."); !slices.Equal(names, []string{"Ottofile.yaml"}) {
		t.Error(names)
	}
	digests, err := c.Digests(func(string) bool { return true })
	one, empty := sha256.Sum256([]byte("one\n")), sha256.Sum256(nil)
	if err != nil || len(digests) != 2 || digests["Ottofile.yaml"] != "sha256:"+hex.EncodeToString(one[:]) ||
		digests["src/a b.txt"] != "sha256:"+hex.EncodeToString(empty[:]) {
		t.Error(digests, err)
	}
	for _, revision := range []string{"nothing", "--help", "HEAD:web", ""} {
		if _, err := bundle.OpenCommit(t.Context(), dir, revision, environ); err == nil || !strings.Contains(err.Error(), "no such commit") {
			t.Errorf("%q: %v", revision, err)
		}
	}
}
