package checkout_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ottoci/otto/agent/checkout"
)

const secret = "canary-hunter2'$(id)\"%41 x"

// credentials writes a file of them.
func credentials(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials")
	write(t, path, strings.Join(lines, "\n")+"\n")
	return path
}

// line is a credential of ana for a server.
func line(w *web, path string) string {
	return strings.Replace(w.URL, "https://", "https://ana:canary-hunter2%27%24%28id%29%22%2541%20x@", 1) + path
}

func TestPrivateRepositoryByHTTPS(t *testing.T) {
	t.Parallel()
	origin := newRepo(t)
	head := origin.commit("f", "1")
	w := newWeb(t, filepath.Dir(origin.dir))
	w.password = secret
	bare := open(t, checkout.Config{CAFile: w.CAFile})
	refused(t, bare, request(t, w.URL+"/origin", head), "this agent has none for it")
	wrong := open(t, checkout.Config{CAFile: w.CAFile, Credentials: credentials(t, strings.Replace(w.URL, "https://", "https://ana:other@", 1))})
	refused(t, wrong, request(t, w.URL+"/origin", head), "Authentication failed")
	elsewhere := open(t, checkout.Config{CAFile: w.CAFile, Credentials: credentials(t, line(w, "/team"), "https://ana:x@other.example")})
	refused(t, elsewhere, request(t, w.URL+"/origin", head), "this agent has none for it")
	loose := credentials(t, line(w, ""))
	if err := os.Chmod(loose, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, open(t, checkout.Config{CAFile: w.CAFile, Credentials: loose}), request(t, w.URL+"/origin", head), "chmod 600")
	odd := open(t, checkout.Config{CAFile: w.CAFile, Credentials: credentials(t, "# known", "", secret)})
	if err := odd.Checkout(t.Context(), request(t, w.URL+"/origin", head)); err == nil || !strings.Contains(err.Error(), "line 3 of") || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v", err)
	}

	dir := filepath.Join(t.TempDir(), "mirrors")
	s := open(t, checkout.Config{CAFile: w.CAFile, Dir: dir, Credentials: credentials(t, "https://ana:x@other.example", line(w, ""))})
	r := request(t, w.URL+"/origin", head)
	must(t, s, r)
	if got := read(t, filepath.Join(r.Into, "f")); got != "1" {
		t.Errorf("got %q", got)
	}
	for _, tree := range []string{dir, r.Into} {
		lacks(t, tree, "canary-hunter2")
	}
}

// lacks fails if a file below a directory has a text in it.
func lacks(t *testing.T, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && strings.Contains(read(t, path), text) {
			t.Errorf("%s has the credential in it", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Git, and what it starts, has the credential in no argument and in no variable (C2): each execve of a checkout is looked at.
func TestCredentialIsInNoArgumentAndNoVariable(t *testing.T) {
	t.Parallel()
	origin := newRepo(t)
	head := origin.commit("f", "1")
	w := newWeb(t, filepath.Dir(origin.dir))
	w.password = secret
	// A git that writes down how it was called, and everything below it, before it is git.
	dir, seen := t.TempDir(), filepath.Join(t.TempDir(), "seen")
	for _, name := range []string{"git", "sed", "sh"} {
		real := need(t, name)
		script := fmt.Sprintf("#!/bin/bash\n{ tr '\\0' '\\n' </proc/$$/cmdline; tr '\\0' '\\n' </proc/$$/environ; echo --; } >>%s\nexec %s \"$@\"\n", seen, real)
		write(t, filepath.Join(dir, name), script)
		if err := os.Chmod(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	need(t, "bash")
	s, err := checkout.Open(checkout.Config{
		Dir: filepath.Join(t.TempDir(), "mirrors"), CAFile: w.CAFile, Credentials: credentials(t, line(w, "")), Environ: []string{"PATH=" + dir + ":" + os.Getenv("PATH")},
		Started: func(cmd *exec.Cmd) error {
			cmd.Path = filepath.Join(dir, "git")
			return cmd.Start()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	must(t, s, request(t, w.URL+"/origin", head))
	calls := read(t, seen)
	if !strings.Contains(calls, "fetch") || !strings.Contains(calls, "OTTO_GIT_ORIGIN="+w.URL) || !strings.Contains(calls, "/proc/self/fd/3") {
		t.Fatalf("the fetch was not seen, or not the answer to its question: %s", calls)
	}
	if strings.Contains(calls, "canary-hunter2") {
		t.Errorf("the credential is in an argument or a variable: %s", calls)
	}
}

// A server cannot send git, with its credential, to another one.
func TestCredentialDoesNotFollowRedirects(t *testing.T) {
	t.Parallel()
	origin := newRepo(t)
	head := origin.commit("f", "1")
	evil := newWeb(t, filepath.Dir(origin.dir))
	evil.password = secret
	w := newWeb(t, filepath.Dir(origin.dir))
	w.before = func(out http.ResponseWriter, r *http.Request) bool {
		http.Redirect(out, r, evil.URL+r.URL.RequestURI(), http.StatusFound)
		return true
	}
	both := filepath.Join(t.TempDir(), "both.pem")
	write(t, both, read(t, w.CAFile)+read(t, evil.CAFile))
	s := open(t, checkout.Config{CAFile: both, Credentials: credentials(t, line(w, ""))})
	if err := s.Checkout(t.Context(), request(t, w.URL+"/origin", head)); err == nil {
		t.Error("the other server has let git in")
	}
	asked := 0
	evil.locked(func() {
		for _, r := range evil.requests {
			asked++
			if _, _, given := r.BasicAuth(); given {
				t.Errorf("%s %s came with a credential", r.Method, r.URL)
			}
		}
	})
	if asked == 0 {
		t.Error("git has not been at the other server: nothing was tried")
	}
}

// A certificate that nobody vouches for is refused.
func TestUnknownCertificate(t *testing.T) {
	t.Parallel()
	origin := newRepo(t)
	head := origin.commit("f", "1")
	w := newWeb(t, filepath.Dir(origin.dir))
	refused(t, open(t, checkout.Config{}), request(t, w.URL+"/origin", head), "certificate")
}
