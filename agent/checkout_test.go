package agent_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/client"
)

// gitRepo makes a repository with two commits of the file f, and gives their names.
func gitRepo(t *testing.T) (dir, first, second string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatalf("%v: see scripts/deps", err)
	}
	dir = t.TempDir()
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@t"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "--quiet")
	commit := func(text string) string {
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		git("add", "f")
		git("commit", "--quiet", "-m", text)
		return git("rev-parse", "HEAD")
	}
	return dir, commit("one"), commit("two")
}

func files(c *agent.Config) { c.Git.Schemes = []string{"file"} }

func TestTaskBeginsWithItsCommit(t *testing.T) {
	t.Parallel()
	dir, first, second := gitRepo(t)
	s := newServer(t)
	run(t, s, files)
	for commit, want := range map[string]string{first: "one", second: "two"} {
		rec := s.giveLease(client.Lease{
			Spec:     steps(sh(`cat f; echo " $OTTO_REPOSITORY $OTTO_REF $OTTO_COMMIT"; git rev-parse HEAD`)),
			Checkout: &client.Checkout{Repository: "file://" + dir, Ref: "main", Commit: commit},
		})
		log := s.logOf(t, rec, s.finished(t, rec).Log)
		if got, want := text(log, "stdout"), want+" file://"+dir+" main "+commit+"\n"+commit+"\n"; got != want {
			t.Errorf("got %q, want %q; %s", got, want, text(log, "stderr"))
		}
		if said := text(log, "agent"); !strings.Contains(said, "checked out file://"+dir+" at "+commit) {
			t.Errorf("the log says %q", said)
		}
	}
	off := steps(sh("ls -A"))
	off.Checkout = &client.CheckoutSpec{Off: true}
	rec := s.giveLease(client.Lease{Spec: off, Checkout: &client.Checkout{Repository: "file:///nowhere", Commit: first}})
	if log := s.logOf(t, rec, s.finished(t, rec).Log); text(log, "stdout") != "" {
		t.Errorf("the workspace has %q", text(log, "stdout"))
	}
}

func TestTaskWithoutItsCommitFails(t *testing.T) {
	t.Parallel()
	dir, first, _ := gitRepo(t)
	s := newServer(t)
	run(t, s) // which allows https and ssh only
	for repository, why := range map[string]string{
		"file://" + dir: "--git-scheme file", "https://user:hunter2@host/a": "password", "--upload-pack=touch": "is no address", "ssh://git@host/a": "--git-known-hosts",
	} {
		rec := s.giveLease(client.Lease{Spec: steps(sh("echo ran")), Checkout: &client.Checkout{Repository: repository, Commit: first}})
		result := s.finished(t, rec)
		if result.Outcome != client.Failed || !strings.Contains(result.Reason, why) || strings.Contains(result.Reason, "hunter2") {
			t.Errorf("%s: %s %q, want %q in it", repository, result.Outcome, result.Reason, why)
		}
		if log := s.logOf(t, rec, result.Log); text(log, "stdout") != "" {
			t.Errorf("%s: a step ran", repository)
		}
	}
}
