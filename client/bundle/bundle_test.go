package bundle

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// write makes files; a name that ends in "*" is executable.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		mode := os.FileMode(0o600)
		if strings.HasSuffix(name, "*") {
			name, mode = strings.TrimSuffix(name, "*"), 0o711
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", args, err, out)
	}
}

func pack(t *testing.T, cfg Config) *Bundle {
	t.Helper()
	cfg.TempDir, cfg.Environ = t.TempDir(), os.Environ()
	b, err := Make(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	if left, _ := os.ReadDir(cfg.TempDir); len(left) > 0 {
		t.Errorf("%s lies on the disk", left[0].Name())
	}
	return b
}

// list reads a bundle back, a line for each entry.
func list(t *testing.T, b *Bundle) string {
	t.Helper()
	zip, err := gzip.NewReader(b.Reader())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for archive := tar.NewReader(zip); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(time.Unix(0, 0)) || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s tells when and by whom it was made", h.Name)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%c %o %s %s%s\n", h.Typeflag, h.Mode, h.Name, strings.ReplaceAll(string(content), "\n", " "), h.Linkname)
	}
}

func TestMake(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{"b/x": "1", "a*": "2", "b-c": "3", ".git/HEAD": "x", "b/.git": "gitdir: elsewhere"})
	symlink(t, "b/x", filepath.Join(dir, "in"))
	symlink(t, "nowhere", filepath.Join(dir, "dangling"))
	if err := os.MkdirAll(filepath.Join(dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil { // not a repository, see managed
		t.Fatal(err)
	}
	b := pack(t, Config{Dir: dir})
	want := `0 755 a 2
0 644 b-c 3
0 644 b/x 1
2 777 dangling nowhere
5 755 empty/ 
2 777 in b/x
`
	if diff := cmp.Diff(want, list(t, b)); diff != "" {
		t.Error(diff)
	}
	if want := (Size{Entries: 6, Bytes: 3}); b.Size != want {
		t.Errorf("size %+v, want %+v", b.Size, want)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, b.Reader())
	if err != nil || n != b.Bytes || b.Digest != "sha256:"+hex.EncodeToString(sum.Sum(nil)) {
		t.Errorf("%d bytes, digest %s, error %v", n, b.Digest, err)
	}
}

func TestMake_is_deterministic(t *testing.T) {
	t.Parallel()
	files := map[string]string{"a": "1", "b/c": "2", "run.sh*": "3", "ünïcode": "4", strings.Repeat("long/", 60) + "name": "5"}
	one, two := t.TempDir(), t.TempDir()
	write(t, one, files)
	write(t, two, files)
	git(t, two, "init", "-q")
	if err := os.Chtimes(filepath.Join(two, "a"), time.Now(), time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(two, "a"), 0o664); err != nil {
		t.Fatal(err)
	}
	if a, b := pack(t, Config{Dir: one}), pack(t, Config{Dir: two}); a.Digest != b.Digest {
		t.Errorf("the same files twice:\n%s\n%s", list(t, a), list(t, b))
	}
}

func TestMake_git(t *testing.T) {
	t.Parallel()
	repo := t.TempDir()
	git(t, repo, "init", "-q")
	write(t, repo, map[string]string{
		"sub/committed": "old", "sub/deleted": "x", "sub/was-dir/x": "x", "elsewhere": "x", ".gitignore": "ignored\nOttofile\n/out/\n",
	})
	git(t, repo, "add", ".")
	git(t, repo, "commit", "-q", "-m", "x")
	dir := filepath.Join(repo, "sub")
	write(t, dir, map[string]string{"committed": "new", "untracked": "y", "ignored": "secret", "Ottofile": "steps"})
	for _, gone := range []string{"deleted", "was-dir"} {
		if err := os.RemoveAll(filepath.Join(dir, gone)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir, map[string]string{"was-dir": "now a file"})

	t.Run("takes_what_git_would", func(t *testing.T) {
		got := list(t, pack(t, Config{Dir: dir}))
		if diff := cmp.Diff("0 644 committed new\n0 644 untracked y\n0 644 was-dir now a file\n", got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("takes_what_it_is_told_to", func(t *testing.T) {
		got := list(t, pack(t, Config{Dir: dir, Always: []string{"Ottofile", "committed"}}))
		if diff := cmp.Diff("0 644 Ottofile steps\n0 644 committed new\n0 644 untracked y\n0 644 was-dir now a file\n", got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("takes_all_of_an_ignored_directory", func(t *testing.T) {
		write(t, repo, map[string]string{"out/a": "1", "out/ignored": "2"})
		got := list(t, pack(t, Config{Dir: filepath.Join(repo, "out")}))
		if diff := cmp.Diff("0 644 a 1\n0 644 ignored 2\n", got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMake_repositories_in_the_tree(t *testing.T) {
	t.Parallel()
	library := t.TempDir()
	git(t, library, "init", "-q")
	write(t, library, map[string]string{"lib.c": "1", ".gitignore": "*.o"})
	git(t, library, "add", ".")
	git(t, library, "commit", "-q", "-m", "x")
	repo := t.TempDir()
	git(t, repo, "init", "-q")
	git(t, repo, "submodule", "--quiet", "add", library, "module")
	write(t, repo, map[string]string{"module/lib.o": "ignored", "nested/n": "2", "nested/n.tmp": "ignored", "nested/.gitignore": "*.tmp"})
	git(t, filepath.Join(repo, "nested"), "init", "-q")
	git(t, filepath.Join(repo, "nested"), "add", ".")
	git(t, filepath.Join(repo, "nested"), "commit", "-q", "-m", "x")

	var names []string
	for line := range strings.Lines(list(t, pack(t, Config{Dir: repo}))) {
		names = append(names, strings.Fields(line)[2])
	}
	want := []string{".gitmodules", "module/.gitignore", "module/lib.c", "nested/.gitignore", "nested/n"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

func TestMake_leaves_out(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "b") // short: the path of a socket has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	write(t, dir, map[string]string{"kept": "1", "d/x": "2"})
	symlink(t, "/etc/passwd", filepath.Join(dir, "absolute"))
	symlink(t, "../../x", filepath.Join(dir, "d", "up"))
	symlink(t, "d", filepath.Join(dir, "e"))
	symlink(t, "e/../..", filepath.Join(dir, "together")) // cleaned it is "..", followed it is the tree's parent
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	b := pack(t, Config{Dir: dir})
	if diff := cmp.Diff("0 644 d/x 2\n2 777 e d\n0 644 kept 1\n", list(t, b)); diff != "" {
		t.Error(diff)
	}
	want := []string{
		"absolute is left out: the link leads out of the tree, to /etc/passwd",
		"d/up is left out: the link leads out of the tree, to ../../x",
		"socket is left out: it is a socket, and only files, directories and links can be packed",
		"together is left out: the link leads out of the tree, to e/../..",
	}
	if diff := cmp.Diff(want, b.Warnings); diff != "" {
		t.Error(diff)
	}
}

func TestMake_never(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()
	write(t, dir, map[string]string{"kept": "1", "data/admin.token": "secret", "data/postgres/x": "2", "database": "3"})
	symlink(t, dir, filepath.Join(elsewhere, "tree"))
	symlink(t, filepath.Join(dir, "data"), filepath.Join(elsewhere, "data"))
	check := func(t *testing.T) {
		for name, c := range map[string]Config{
			"as_it_is":              {Dir: dir, Never: []string{filepath.Join(dir, "data")}},
			"by_a_link":             {Dir: dir, Never: []string{filepath.Join(elsewhere, "data")}},
			"by_a_link_to_the_tree": {Dir: filepath.Join(elsewhere, "tree"), Never: []string{filepath.Join(dir, "data")}},
			"beside_what_is_not":    {Dir: dir, Never: []string{filepath.Join(dir, "nowhere"), elsewhere, filepath.Join(dir, "data")}},
		} {
			t.Run(name, func(t *testing.T) {
				if diff := cmp.Diff("0 644 database 3\n0 644 kept 1\n", list(t, pack(t, c))); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
	t.Run("without_git", check)
	git(t, dir, "init", "-q")
	git(t, dir, "add", "data/admin.token") // not even if it was added
	t.Run("with_git", check)
	t.Run("all_of_the_tree", func(t *testing.T) {
		got := list(t, pack(t, Config{Dir: dir, Always: []string{"kept"}, Never: []string{dir}}))
		if diff := cmp.Diff("0 644 kept 1\n", got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMake_refuses_too_much(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	noise := make([]byte, 3<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	write(t, dir, map[string]string{"small": "1", "big/a": string(noise[:2<<20]), "big/b": string(noise[2<<20:])})
	_, err := Make(context.Background(), Config{Dir: dir, MaxBytes: 1 << 20, TempDir: t.TempDir()})
	var large *TooLargeError
	if !errors.As(err, &large) {
		t.Fatalf("got %v", err)
	}
	if diff := cmp.Diff([]Share{{"big", 3 << 20}, {"small", 1}}, large.Largest); diff != "" {
		t.Error(diff)
	}
}
