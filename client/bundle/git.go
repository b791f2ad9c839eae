package bundle

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
)

var (
	errNotGit = errors.New("git does not manage the directory")
	errNoGit  = errors.New("git is not installed")
)

// worktree asks git what belongs to a working tree.
type worktree struct {
	dir     string
	environ []string
	stdin   io.Reader // of the next command; none if nil
}

// list names the files below a directory that git tracks or would add, relative to it. A directory among them is a
// repository of its own.
func (w worktree) list(ctx context.Context, below string) ([]string, error) {
	dir := filepath.Join(w.dir, filepath.FromSlash(below))
	if !managed(dir, below == ".") {
		return nil, errNotGit
	}
	if _, err := exec.LookPath("git"); err != nil {
		return nil, errNoGit
	}
	out, err := w.git(ctx, dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	names := strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
	if len(names) == 0 && w.ignored(ctx, dir) {
		return nil, errNotGit // the whole directory is ignored: whoever packs it wants it nevertheless
	}
	return names, nil
}

// managed says whether the directory is in a working tree; one below the bundle's root only counts as a tree of its own.
func managed(dir string, upwards bool) bool {
	at, err := filepath.Abs(dir)
	for err == nil {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			return true
		}
		if !upwards || at == filepath.Dir(at) {
			return false
		}
		at = filepath.Dir(at)
	}
	return false
}

func (w worktree) ignored(ctx context.Context, dir string) bool {
	_, err := w.git(ctx, dir, "check-ignore", "--quiet", ".")
	return err == nil
}

// git runs a command that only reads. fsmonitor is a program that the repository's settings name: nothing of a
// repository runs before its pipeline does.
func (w worktree) git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "core.fsmonitor=false"}, args...)...)
	// In a hook, git's own variables point to another index than the work tree's.
	cmd.Env = slices.DeleteFunc(slices.Clone(w.environ), func(v string) bool { return strings.HasPrefix(v, "GIT_") })
	cmd.Env = append(cmd.Env, "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C")
	cmd.Stdin = w.stdin
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(said.Bytes()))
	}
	return out, nil
}
