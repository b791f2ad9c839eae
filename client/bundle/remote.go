package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Remote is a git repository elsewhere, of which files of a commit are wanted. Nothing is checked out and no hook runs.
type Remote struct {
	URL     string // https, ssh or file
	TempDir string // os.TempDir if empty
	Environ []string
}

// maxRemoteFile is beyond what the compiler accepts: it says so itself.
const maxRemoteFile = 2 << 20

// Resolve gives the commit that a branch or a tag is now.
func (r Remote) Resolve(ctx context.Context, ref string) (string, error) {
	tip, err := r.Tip(ctx, ref)
	return tip.SHA, err
}

// Tip is what a branch or a tag is now, and its branch if it is one.
func (r Remote) Tip(ctx context.Context, ref string) (Head, error) {
	branch, tag := "refs/heads/"+ref, "refs/tags/"+ref
	found, err := r.refs(ctx, branch, tag, tag+"^{}")
	if err != nil {
		return Head{}, err
	}
	switch {
	case found[branch] != "" && found[tag] != "":
		return Head{}, fmt.Errorf("%s has both a branch and a tag %s: name a commit", r.URL, ref)
	case found[tag+"^{}"] != "": // the commit of an annotated tag
		return Head{SHA: found[tag+"^{}"]}, nil
	case found[tag] != "":
		return Head{SHA: found[tag]}, nil
	case found[branch] != "":
		return Head{Branch: ref, SHA: found[branch]}, nil
	}
	return Head{}, fmt.Errorf("%s has no branch or tag %s", r.URL, ref)
}

// Default is what the repository's own branch is now.
func (r Remote) Default(ctx context.Context) (Head, error) {
	found, err := r.refs(ctx, "HEAD")
	if err != nil {
		return Head{}, err
	}
	branch, ok := strings.CutPrefix(found["ref"], "refs/heads/")
	if !ok || found["HEAD"] == "" {
		return Head{}, fmt.Errorf("%s has no branch of its own: name a ref or a commit", r.URL)
	}
	return Head{Branch: branch, SHA: found["HEAD"]}, nil
}

// refs asks for the commits of refs, by their names; under "ref" is what HEAD stands for.
func (r Remote) refs(ctx context.Context, names ...string) (map[string]string, error) {
	dir, err := os.MkdirTemp(r.TempDir, "otto-git-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out, err := r.git(ctx, dir, append([]string{"ls-remote", "--quiet", "--symref", "--", r.URL}, names...)...)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		value, name, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if symbolic, is := strings.CutPrefix(value, "ref: "); is {
			found["ref"] = symbolic
		} else if ok {
			found[name] = value
		}
	}
	return found, nil
}

// Files reads files of a commit.
func (r Remote) Files(ctx context.Context, commit string, paths []string) (map[string][]byte, error) {
	dir, err := os.MkdirTemp(r.TempDir, "otto-git-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := r.clone(ctx, dir, commit); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, path := range paths {
		if files[path], err = r.file(ctx, dir, commit, path); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// Fetch gets a commit into a directory, for OpenCommit. Remove the directory when that is done.
func (r Remote) Fetch(ctx context.Context, commit string) (dir string, err error) {
	if dir, err = os.MkdirTemp(r.TempDir, "otto-git-*"); err != nil {
		return "", err
	}
	at := filepath.Join(dir, ".git")
	if err = os.Mkdir(at, 0o700); err == nil {
		err = r.clone(ctx, at, commit)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// clone makes a repository with one commit.
func (r Remote) clone(ctx context.Context, dir, commit string) error {
	format := "sha1"
	if len(commit) == 64 {
		format = "sha256"
	}
	if _, err := r.git(ctx, dir, "init", "--quiet", "--bare", "--template=", "--object-format="+format); err != nil {
		return err
	}
	return r.fetch(ctx, dir, commit)
}

// fetch gets one commit. Servers that hand out branches and tags only must hand out all of them.
func (r Remote) fetch(ctx context.Context, dir, commit string) error {
	fetch := []string{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules"}
	_, err := r.git(ctx, dir, append(slices.Clone(fetch), "--depth=1", "--", r.URL, commit)...)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if _, all := r.git(ctx, dir, append(fetch, "--", r.URL, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")...); all != nil {
		return err // the first try says what is wrong with the commit, or with the server
	}
	if _, err := r.git(ctx, dir, "cat-file", "-e", commit+"^{commit}"); err != nil {
		return fmt.Errorf("%s has no commit %s", r.URL, commit)
	}
	return nil
}

func (r Remote) file(ctx context.Context, dir, commit, path string) ([]byte, error) {
	out, err := r.git(ctx, dir, "--literal-pathspecs", "ls-tree", "-l", "-z", "--full-tree", commit, "--", path)
	if err != nil {
		return nil, err
	}
	head, name, _ := strings.Cut(strings.TrimSuffix(string(out), "\x00"), "\t")
	words := strings.Fields(head) // 100644 blob <id> <size>
	if len(words) != 4 || name != path || !strings.HasPrefix(words[0], "100") {
		return nil, fmt.Errorf("%s has no file %s at %s", r.URL, path, commit)
	}
	if size, err := strconv.ParseInt(words[3], 10, 64); err != nil || size > maxRemoteFile {
		return nil, fmt.Errorf("%s of %s is larger than %d MiB", path, r.URL, maxRemoteFile>>20)
	}
	return r.git(ctx, dir, "cat-file", "blob", words[2])
}

// git runs a command with nothing but the person's own credentials and settings: no repository, no hooks, no questions on a
// terminal, no other protocols.
func (r Remote) git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	settings := []string{
		"-C", dir, "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "protocol.file.allow=always",
	}
	cmd := exec.CommandContext(ctx, "git", append(settings, args...)...)
	cmd.Env = slices.DeleteFunc(slices.Clone(r.Environ), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(name, "GIT_") && !strings.HasPrefix(name, "GIT_CONFIG_") && name != "GIT_SSH_COMMAND" && name != "GIT_SSL_CAINFO"
	})
	cmd.Env = append(cmd.Env, "GIT_DIR="+dir, "GIT_ALLOW_PROTOCOL=https:ssh:file", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errNoGit
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, complaint(said.String(), err)
	}
	return out, nil
}

// complaint is what git says is wrong, without its advice.
func complaint(said string, err error) error {
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		for _, word := range []string{"fatal: ", "error: "} {
			if text, ok := strings.CutPrefix(line, word); ok {
				return fmt.Errorf("git: %s", text)
			}
		}
	}
	return fmt.Errorf("git: %w", err)
}
