package bundle

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	git(t, dir, "init", "-q")
	write(t, dir, map[string]string{"a": "1", "d/b": "2", "ignored": "3", ".gitignore": "ignored", "large": strings.Repeat("x", MaxFile+1)})
	symlink(t, "a", filepath.Join(dir, "link"))
	files, err := List(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".gitignore", "a", "d/b", "large"}, files.Names()); diff != "" {
		t.Error(diff)
	}
	if data, err := files.ReadFile("./d/b"); err != nil || string(data) != "2" {
		t.Errorf("got %q, %v", data, err)
	}
	for _, name := range []string{"ignored", "link", "d", "nowhere", "../a"} {
		if _, err := files.ReadFile(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read %s: got %v", name, err)
		}
	}
	if _, err := files.ReadFile("large"); err == nil || err.Error() != "large is larger than 1 MiB" {
		t.Errorf("got %v", err)
	}
	digests, err := files.Digests(func(name string) bool { return name == "a" })
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a": "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"}
	if diff := cmp.Diff(want, digests); diff != "" {
		t.Error(diff)
	}
}
