package checkout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// git runs commands for one purpose, with settings of ours alone.
type git struct {
	store   *Store
	dir     string   // of its own, gone with close: home, working directory, socket of the ssh agent
	at      []string // what it works on
	env     []string // more of it
	more    []string // settings
	schemes []string // that it may fetch by
	files   []*os.File
	closers []func()
}

// killAfter is how long git has to remove its lock files once it is told to end.
const killAfter = 5 * time.Second

// passed are the names of the host's environment that git needs: how to find programs and the way out.
var passed = []string{
	"PATH", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
}

// settings hold for every command. They are given with it, and so come before what a repository says.
var settings = []string{
	"core.hooksPath=/dev/null", "core.fsmonitor=false", "core.protectHFS=true", "core.protectNTFS=true", "core.sshCommand=false", "core.gitProxy=", "core.askPass=",
	"core.attributesFile=/dev/null", "core.excludesFile=/dev/null", "core.symlinks=true", "core.autocrlf=false",
	"safe.bareRepository=explicit", "protocol.allow=never", "credential.helper=", "http.followRedirects=initial", "http.emptyAuth=false",
	"http.lowSpeedLimit=1000", "http.lowSpeedTime=60", "gc.auto=0", "maintenance.auto=false", "submodule.recurse=false", "fetch.recurseSubmodules=false",
	"advice.detachedHead=false", "fetch.unpackLimit=1", "transfer.fsckObjects=true", "fetch.fsckObjects=true",
	// What git finds wrong in repositories that are merely old. All that an attack needs stays an error.
	"fetch.fsck.zeroPaddedFilemode=ignore", "fetch.fsck.missingSpaceBeforeDate=ignore", "fetch.fsck.missingEmail=ignore", "fetch.fsck.badEmail=ignore",
	"fetch.fsck.missingSpaceBeforeEmail=ignore", "fetch.fsck.missingNameBeforeEmail=ignore", "fetch.fsck.badName=ignore", "fetch.fsck.badTimezone=ignore",
	"fetch.fsck.badDate=ignore", "fetch.fsck.badDateOverflow=ignore", "fetch.fsck.zeroPaddedDate=ignore", "fetch.fsck.missingTaggerEntry=ignore",
	"fetch.fsck.badFilemode=ignore", "fetch.fsck.nullSha1=ignore",
}

// git makes a runner; close it.
func (s *Store) git() (*git, error) {
	dir, err := os.MkdirTemp(s.scratch(), "git-*")
	if err != nil {
		return nil, err
	}
	return &git{store: s, dir: dir}, nil
}

// in lets the commands work on the repository of a directory.
func (g *git) in(dir string) {
	g.at = []string{"GIT_DIR=" + filepath.Join(dir, ".git"), "GIT_WORK_TREE=" + dir}
}

// bare lets them work on a repository without a working tree.
func (g *git) bare(dir string) { g.at = []string{"GIT_DIR=" + dir} }

// set adds a setting.
func (g *git) set(name, value string) { g.more = append(g.more, name+"="+value) }

// close removes everything that was made for the commands, credentials above all.
func (g *git) close() {
	for _, f := range g.files {
		_ = f.Close()
	}
	for _, c := range g.closers {
		c()
	}
	_ = os.RemoveAll(g.dir)
}

// run gives what a command writes, without the line's end.
func (g *git) run(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	err := g.pipe(ctx, &out, args...)
	return strings.TrimSuffix(out.String(), "\n"), err
}

// pipe hands on what a command writes. When the writer has had enough, the command ends.
func (g *git) pipe(ctx context.Context, out io.Writer, args ...string) error {
	var flags []string
	for _, s := range slices.Concat(settings, g.more) {
		flags = append(flags, "-c", s)
	}
	cmd := exec.CommandContext(ctx, "git", append(flags, args...)...)
	said := &tail{}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = g.dir, g.environ(), out, said, g.files
	cmd.WaitDelay = killAfter
	ownGroup(cmd)
	if err := g.store.cfg.Started(cmd); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return errors.New("git is not installed on this agent")
		}
		return err
	}
	err := cmd.Wait()
	endGroup(cmd)
	g.store.cfg.Ended(cmd)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return complaint(said.String(), err)
}

func (g *git) environ() []string {
	env := []string{
		"HOME=" + g.dir, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_ALLOW_PROTOCOL=" + strings.Join(g.schemes, ":"), "GIT_ASKPASS=/bin/false", "GIT_SSH_COMMAND=false", "GIT_LFS_SKIP_SMUDGE=1", "GIT_NO_LAZY_FETCH=1",
	}
	for _, entry := range g.store.cfg.Environ {
		if name, _, _ := strings.Cut(entry, "="); slices.Contains(passed, name) {
			env = append(env, entry)
		}
	}
	if g.store.cfg.CAFile != "" {
		env = append(env, "GIT_SSL_CAINFO="+g.store.cfg.CAFile)
	}
	return append(append(env, g.at...), g.env...)
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

const tailBytes = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - tailBytes; over > 0 {
		t.kept = append([]byte(nil), t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.kept) }

// complaint is what git, or ssh below it, says is wrong: the first such line.
func complaint(said string, err error) error {
	var last string
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		switch {
		case strings.Contains(line, "unable to read askpass response"):
			return errors.New("git: the repository asks for a credential, and this agent has none for it: otto agent --git-credentials FILE names them")
		case strings.Contains(line, "Permission denied ("), strings.HasPrefix(line, "Host key verification failed"):
			return fmt.Errorf("git: ssh: %s", line)
		}
		for _, word := range []string{"fatal: ", "error: ", "remote: error: ", "ERROR: ", "batch response: "} {
			if text, ok := strings.CutPrefix(line, word); ok {
				return fmt.Errorf("git: %s", text)
			}
		}
		if line != "" {
			last = line
		}
	}
	if last != "" {
		return fmt.Errorf("git: %s (%w)", last, err)
	}
	return fmt.Errorf("git: %w", err)
}
