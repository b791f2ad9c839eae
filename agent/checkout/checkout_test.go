package checkout_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ottoci/otto/agent/checkout"
	"github.com/ottoci/otto/client"
)

func TestCheckoutIsTheCommit(t *testing.T) {
	t.Parallel()
	origin := newRepo(t)
	first := origin.commit("a/b.txt", "one\n")
	second := origin.commit("a/b.txt", "two\n")
	w := newWeb(t, filepath.Dir(origin.dir))
	s := open(t, checkout.Config{CAFile: w.CAFile})
	for commit, want := range map[string]string{first: "one\n", second: "two\n"} {
		r := request(t, w.URL+"/origin", commit)
		must(t, s, r)
		if got := read(t, filepath.Join(r.Into, "a/b.txt")); got != want {
			t.Errorf("%s: got %q", commit, got)
		}
		ws := &repo{t, r.Into}
		if got := ws.git("rev-parse", "HEAD"); got != commit {
			t.Errorf("HEAD is %s, want %s", got, commit)
		}
		if got := ws.git("rev-list", "--count", "HEAD"); got != "1" {
			t.Errorf("%s commits of history, want 1", got)
		}
		if got := ws.git("status", "--porcelain"); got != "" {
			t.Errorf("status: %s", got)
		}
		if got := ws.git("remote", "get-url", "origin"); got != w.URL+"/origin" {
			t.Errorf("origin is %s", got)
		}
	}
}

func TestCheckoutDepth(t *testing.T) {
	t.Parallel()
	origin := newRepo(t)
	for _, n := range []string{"1", "2", "3", "4"} {
		origin.commit("f", n)
	}
	w := newWeb(t, filepath.Dir(origin.dir))
	s := open(t, checkout.Config{CAFile: w.CAFile})
	head := origin.git("rev-parse", "HEAD")
	// The shallow ones between: they must not cut the history off that others have.
	for _, c := range []struct {
		depth int
		want  string
	}{{client.CheckoutAll, "4"}, {1, "1"}, {3, "3"}, {0, "1"}, {client.CheckoutAll, "4"}} {
		r := request(t, w.URL+"/origin", head)
		r.Depth = c.depth
		must(t, s, r)
		if got := (&repo{t, r.Into}).git("rev-list", "--count", "HEAD"); got != c.want {
			t.Errorf("depth %d: %s commits, want %s", c.depth, got, c.want)
		}
	}
}

func TestMirrorServesAllTasks(t *testing.T) {
	t.Parallel()
	origin := newRepo(t)
	head := origin.commit("f", "1")
	w := newWeb(t, filepath.Dir(origin.dir))
	s := open(t, checkout.Config{CAFile: w.CAFile})
	var all sync.WaitGroup
	for range 8 {
		r := request(t, w.URL+"/origin", head)
		all.Go(func() {
			if err := s.Checkout(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := w.fetches(); n != 1 {
		t.Errorf("%d fetches for one commit", n)
	}
}

// A task can do to its repository what it likes, and where it is the agent's user, to the mirror as well: the next task gets the
// commit, or none.
func TestMirrorCannotBePoisoned(t *testing.T) {
	t.Parallel()
	origin := newRepo(t)
	head := origin.commit("f", "good\n")
	w := newWeb(t, filepath.Dir(origin.dir))
	dir := filepath.Join(t.TempDir(), "mirrors")
	s := open(t, checkout.Config{CAFile: w.CAFile, Dir: dir})
	first := request(t, w.URL+"/origin", head)
	must(t, s, first)
	shared(t, first.Into, dir)

	pwned := filepath.Join(t.TempDir(), "pwned")
	run := "touch " + pwned
	mirrors, _ := filepath.Glob(filepath.Join(dir, "*.git"))
	for _, m := range mirrors {
		write(t, filepath.Join(m, "config"), "[core]\n\tbare = true\n\trepositoryformatversion = 0\n\tfsmonitor = "+run+"\n\tsshCommand = "+run+"\n\thooksPath = "+m+"/hooks\n"+
			"[uploadpack]\n\tpackObjectsHook = "+run+"\n[credential]\n\thelper = !"+run+"\n[url \"https://evil/\"]\n\tinsteadOf = https://\n")
		for _, hook := range []string{"post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc"} {
			write(t, filepath.Join(m, "hooks", hook), "#!/bin/sh\n"+run+"\n")
			if err := os.Chmod(filepath.Join(m, "hooks", hook), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		// Another content under the name of the file.
		packs, _ := filepath.Glob(filepath.Join(m, "objects/pack/*.pack"))
		for _, p := range packs {
			body := []byte(read(t, p))
			body[len(body)-30] ^= 0xff
			if err := os.Chmod(p, 0o600); err != nil {
				t.Fatal(err)
			}
			write(t, p, string(body))
		}
	}
	second := request(t, w.URL+"/origin", head)
	must(t, s, second)
	if got := read(t, filepath.Join(second.Into, "f")); got != "good\n" {
		t.Errorf("got %q", got)
	}
	if _, err := os.Lstat(pwned); err == nil {
		t.Error("what a task left in the mirror has run")
	}
	if w.fetches() != 2 {
		t.Errorf("%d fetches: want a second one, in place of the damaged mirror", w.fetches())
	}
}

var errAborted = errors.New("aborted by the test")

func links(info os.FileInfo) uint64 {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return stat.Nlink
}

// shared fails if the workspace has a file in common with the mirrors, or refers to them.
func shared(t *testing.T, workspace, mirrors string) {
	t.Helper()
	err := filepath.WalkDir(workspace, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if links(info) != 1 {
			t.Errorf("%s has another name", path)
		}
		if strings.Contains(read(t, path), mirrors) {
			t.Errorf("%s names the mirror", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMirrorsAreEvicted(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(t.TempDir(), "mirrors")
	var heads []string
	for _, name := range []string{"a", "b", "c"} {
		r := &repo{t, filepath.Join(root, name)}
		if err := os.Mkdir(r.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		r.git("init", "--quiet", "--initial-branch=main")
		heads = append(heads, r.commit("f", strings.Repeat(name, 10)))
	}
	w := newWeb(t, root)
	s := open(t, checkout.Config{CAFile: w.CAFile, Dir: dir, Limit: 1})
	for i, name := range []string{"a", "b", "c"} {
		must(t, s, request(t, w.URL+"/"+name, heads[i]))
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.git")); len(left) != 1 {
		t.Errorf("%d mirrors are left, want the one that was in use: %v", len(left), left)
	}
	must(t, s, request(t, w.URL+"/a", heads[0]))
}

func TestCommitThatIsNotThere(t *testing.T) {
	t.Parallel()
	origin := newRepo(t)
	origin.commit("f", "1")
	w := newWeb(t, filepath.Dir(origin.dir))
	s := open(t, checkout.Config{CAFile: w.CAFile})
	refused(t, s, request(t, w.URL+"/origin", strings.Repeat("ab", 20)), "has no commit "+strings.Repeat("ab", 20))
	refused(t, s, request(t, w.URL+"/origin", origin.git("rev-parse", "HEAD^{tree}")), "tree")
	refused(t, s, request(t, w.URL+"/nothing", strings.Repeat("ab", 20)), "not found")
}

func TestServerThatHandsOutBranchesOnly(t *testing.T) {
	t.Parallel()
	origin := newRepo(t)
	old := origin.commit("f", "1")
	origin.commit("f", "2")
	w := newWeb(t, filepath.Dir(origin.dir))
	w.before = func(_ http.ResponseWriter, r *http.Request) bool {
		r.Header.Del("Git-Protocol") // version 0, which refuses commits by their names
		return false
	}
	s := open(t, checkout.Config{CAFile: w.CAFile})
	r := request(t, w.URL+"/origin", old)
	must(t, s, r)
	if got := read(t, filepath.Join(r.Into, "f")); got != "1" {
		t.Errorf("got %q", got)
	}
	refused(t, s, request(t, w.URL+"/origin", strings.Repeat("ab", 20)), "on its branches and tags")
}

func TestCheckoutEndsWithItsContext(t *testing.T) {
	t.Parallel()
	origin := newRepo(t)
	head := origin.commit("f", "1")
	w := newWeb(t, filepath.Dir(origin.dir))
	hung, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.before = func(_ http.ResponseWriter, r *http.Request) bool {
		once.Do(func() { close(hung) })
		select {
		case <-leave:
		case <-r.Context().Done():
		}
		return true
	}
	s := open(t, checkout.Config{CAFile: w.CAFile})
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-hung
		cancel(errAborted)
	}()
	r := request(t, w.URL+"/origin", head)
	if err := s.Checkout(ctx, r); err == nil || !strings.Contains(err.Error(), errAborted.Error()) {
		t.Errorf("got %v", err)
	}
	close(leave)
	w.locked(func() { w.before = nil })
	must(t, s, r) // the mirror in which git was ended is of no harm
}

func TestLimitsOfACheckout(t *testing.T) {
	t.Parallel()
	origin := newRepo(t)
	for _, n := range []string{"1", "2", "3"} {
		origin.commit(n, strings.Repeat(n, 1000))
	}
	head := origin.git("rev-parse", "HEAD")
	w := newWeb(t, filepath.Dir(origin.dir))
	refused(t, open(t, checkout.Config{CAFile: w.CAFile, Entries: 2}), request(t, w.URL+"/origin", head), "more than the 2 files")
	refused(t, open(t, checkout.Config{CAFile: w.CAFile, Bytes: 2999}), request(t, w.URL+"/origin", head), "larger than the 2999 bytes")
	must(t, open(t, checkout.Config{CAFile: w.CAFile, Bytes: 3000, Entries: 3}), request(t, w.URL+"/origin", head))
}
