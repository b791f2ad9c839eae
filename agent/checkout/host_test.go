package checkout_test

import (
	"encoding/pem"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ottoci/otto/agent/checkout"
	"github.com/ottoci/otto/client"
)

// repo is a repository of the test, with a working tree.
type repo struct {
	t   *testing.T
	dir string
}

func newRepo(t *testing.T) *repo {
	t.Helper()
	need(t, "git")
	r := &repo{t, filepath.Join(t.TempDir(), "origin")}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.git("init", "--quiet", "--initial-branch=main")
	return r
}

// need finds a program that the test cannot do without; scripts/deps installs it.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%v: see scripts/deps", err)
	}
	return path
}

func (r *repo) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", r.dir, "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@t")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit makes one with a file in it, and gives its name.
func (r *repo) commit(name, text string) string {
	r.t.Helper()
	write(r.t, filepath.Join(r.dir, name), text)
	r.git("add", "-A")
	r.git("commit", "--quiet", "--allow-empty", "-m", "change "+name)
	return r.git("rev-parse", "HEAD")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// web serves repositories by https, as git's own server does.
type web struct {
	*httptest.Server
	CAFile string

	mu       sync.Mutex
	requests []*http.Request
	password string                                        // that it wants of the user ana
	before   func(http.ResponseWriter, *http.Request) bool // answers instead, if true
}

func newWeb(t *testing.T, root string) *web {
	t.Helper()
	out, err := exec.Command(need(t, "git"), "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path:       filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:        []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=ana", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
		InheritEnv: []string{"PATH"},
		Stderr:     new(strings.Builder),
	}
	w := &web{}
	w.Server = httptest.NewTLSServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.requests = append(w.requests, r.Clone(r.Context()))
		before, password := w.before, w.password
		w.mu.Unlock()
		if before != nil && before(out, r) {
			return
		}
		if user, given, _ := r.BasicAuth(); password != "" && (user != "ana" || given != password) {
			out.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(out, "who are you?", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(out, r)
	}))
	t.Cleanup(w.Close)
	w.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	write(t, w.CAFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw})))
	return w
}

// fetches is how often somebody has asked for objects.
func (w *web) fetches() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.requests {
		if strings.HasSuffix(r.URL.Path, "/info/refs") {
			n++
		}
	}
	return n
}

func (w *web) locked(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

// open makes a store; it trusts the servers of the test.
func open(t *testing.T, cfg checkout.Config) *checkout.Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "mirrors")
	}
	cfg.Environ = append(cfg.Environ, "PATH="+os.Getenv("PATH"))
	s, err := checkout.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, err := os.ReadDir(filepath.Join(cfg.Dir, "scratch")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	})
	return s
}

func request(t *testing.T, repository, commit string) checkout.Request {
	return checkout.Request{Checkout: client.Checkout{Repository: repository, Commit: commit}, Into: filepath.Join(t.TempDir(), "workspace")}
}

func must(t *testing.T, s *checkout.Store, r checkout.Request) {
	t.Helper()
	if err := s.Checkout(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// refused checks one out that must not come to be, and gives why it did not.
func refused(t *testing.T, s *checkout.Store, r checkout.Request, why string) {
	t.Helper()
	err := s.Checkout(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("%v: want %q in it", err, why)
	}
}
