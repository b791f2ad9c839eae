package bundle

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// remoteRepo is a repository with two commits, a branch, a light and an annotated tag; it gives its URL and its commits.
func remoteRepo(t *testing.T) (r Remote, dir string, commits []string) {
	t.Helper()
	dir = t.TempDir()
	git(t, dir, "init", "-q", "-b", "main")
	symlink(t, "ci/go.yaml", filepath.Join(dir, "link"))
	for _, text := range []string{"one\n", "two\n"} {
		write(t, dir, map[string]string{"ci/go.yaml": text, "a b.yaml": "spaces\n"})
		git(t, dir, "add", ".")
		git(t, dir, "commit", "-qm", text)
		out, err := exec.Command("git", "-C", dir, "rev-parse", "HEAD").Output()
		if err != nil {
			t.Fatal(err)
		}
		commits = append(commits, strings.TrimSpace(string(out)))
	}
	git(t, dir, "tag", "light", commits[0])
	git(t, dir, "tag", "-a", "-m", "x", "v1", commits[0])
	return Remote{URL: "file://" + dir, TempDir: t.TempDir(), Environ: append(os.Environ(), "GIT_DIR=/nowhere")}, dir, commits
}

func TestRemoteResolve(t *testing.T) {
	t.Parallel()
	r, dir, commits := remoteRepo(t)
	for ref, want := range map[string]string{"main": commits[1], "light": commits[0], "v1": commits[0]} {
		if got, err := r.Resolve(t.Context(), ref); got != want || err != nil {
			t.Errorf("%s is %s, %v", ref, got, err)
		}
	}
	git(t, dir, "branch", "light")
	for _, ref := range []string{"nothing", "light", "heads/main"} {
		if got, err := r.Resolve(t.Context(), ref); err == nil {
			t.Errorf("%s is %s", ref, got)
		}
	}
}

func TestRemoteFiles(t *testing.T) {
	t.Parallel()
	r, _, commits := remoteRepo(t)
	for i, want := range []string{"one\n", "two\n"} {
		files, err := r.Files(t.Context(), commits[i], []string{"ci/go.yaml", "a b.yaml"})
		if err != nil || string(files["ci/go.yaml"]) != want || string(files["a b.yaml"]) != "spaces\n" {
			t.Errorf("%q, %v", files, err)
		}
	}
	for _, path := range []string{"nothing", "ci", "link", "../ci/go.yaml", "*"} {
		if files, err := r.Files(t.Context(), commits[1], []string{path}); err == nil {
			t.Errorf("%s is %q", path, files)
		}
	}
	if _, err := r.Files(t.Context(), strings.Repeat("0", 40), []string{"ci/go.yaml"}); err == nil {
		t.Error("a commit that is not there was found")
	}
	if left, _ := os.ReadDir(r.TempDir); len(left) > 0 {
		t.Errorf("%s lies on the disk", left[0].Name())
	}
}

func TestRemoteRefuses(t *testing.T) {
	t.Parallel()
	r, _, commits := remoteRepo(t)
	for _, url := range []string{"http://127.0.0.1:1/x.git", "ext::sh -c true", "git://127.0.0.1:1/x"} {
		other := Remote{URL: url, TempDir: r.TempDir, Environ: r.Environ}
		_, err := other.Files(t.Context(), commits[0], []string{"x"})
		if err == nil || !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("%s: %v", url, err)
		}
	}
	missing := Remote{URL: "file:///does/not/exist", TempDir: r.TempDir, Environ: r.Environ}
	if _, err := missing.Resolve(t.Context(), "main"); err == nil || errors.Is(err, errNoGit) {
		t.Error(err)
	}
}

// Hooks and settings of the repository that is fetched from do not run here.
func TestRemoteRunsNothing(t *testing.T) {
	t.Parallel()
	r, dir, commits := remoteRepo(t)
	mark := filepath.Join(t.TempDir(), "ran")
	for _, hook := range []string{"post-checkout", "reference-transaction", "post-merge"} {
		write(t, dir, map[string]string{".git/hooks/" + hook + "*": "#!/bin/sh\ntouch " + mark + "\n"})
	}
	if _, err := r.Files(t.Context(), commits[0], []string{"ci/go.yaml"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("a hook ran")
	}
}
