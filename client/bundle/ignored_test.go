package bundle

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestIgnored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		".gitignore": "*.log\nout/\nkept/\n", "a.go": "", "a.log": "", "out/b.go": "", "sub/c.go": "", "sub/c.log": "", "kept/d.go": "", "kept/e.go": "",
	})
	for _, at := range []string{dir, filepath.Join(dir, "sub")} {
		if names, err := Ignored(t.Context(), at, os.Environ()); names != nil || err != nil {
			t.Errorf("without git %s ignores %q, %v", at, names, err)
		}
	}
	git(t, dir, "init", "-q")
	git(t, dir, "add", "--force", "kept/d.go")
	for _, c := range []struct {
		dir  string
		want []string
	}{
		{".", []string{"a.log", "kept/e.go", "out", "sub/c.log"}},
		{"sub", []string{"c.log"}},
		{"out", nil}, // whoever names it wants it nevertheless
	} {
		names, err := Ignored(t.Context(), filepath.Join(dir, c.dir), os.Environ())
		if diff := cmp.Diff(c.want, names); diff != "" || err != nil {
			t.Errorf("in %s, %v, is ignored (-want +got):\n%s", c.dir, err, diff)
		}
	}
}
