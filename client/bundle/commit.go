package bundle

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Commit is the tree of a commit, as a bundle of a checkout would hold it.
type Commit struct {
	SHA   string
	below string // the directory in the repository that the tree starts at, with its slash; empty for the root
	files map[string]blob
	repo  worktree
	read  func(args ...string) ([]byte, error)
}

// blob is a regular file of a commit.
type blob struct {
	id   string
	size int64
}

// ErrNoCommit: git knows no commit by that word.
var ErrNoCommit = errors.New("no such commit")

// OpenCommit looks up a commit by what git calls a revision, in the repository that a directory is in; the tree starts at
// that directory. Nothing is checked out, and nothing of the repository runs.
func OpenCommit(ctx context.Context, dir, revision string, environ []string) (*Commit, error) {
	if !managed(dir, true) {
		return nil, fmt.Errorf("%q: %w: %w", revision, ErrNoCommit, errNotGit)
	}
	c := &Commit{repo: worktree{dir: dir, environ: environ}, files: map[string]blob{}}
	c.read = func(args ...string) ([]byte, error) { return c.repo.git(ctx, dir, args...) }
	out, err := c.read("rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{commit}")
	if err != nil {
		return nil, fmt.Errorf("%q: %w", revision, ErrNoCommit)
	}
	c.SHA = strings.TrimSpace(string(out))
	if out, err = c.read("rev-parse", "--show-prefix"); err != nil {
		return nil, err
	}
	c.below = strings.TrimSpace(string(out))
	if out, err = c.read("ls-tree", "-r", "-z", "-l", "--full-tree", c.SHA); err != nil {
		return nil, err
	}
	for entry := range strings.SplitSeq(string(out), "\x00") {
		c.list(entry)
	}
	return c, nil
}

// list keeps a regular file below the start: "100644 blob <id> <size>\t<path>".
func (c *Commit) list(entry string) {
	head, name, ok := strings.Cut(entry, "\t")
	words := strings.Fields(head)
	if !ok || len(words) != 4 || !strings.HasPrefix(words[0], "100") {
		return
	}
	size, err := strconv.ParseInt(words[3], 10, 64)
	name, inside := strings.CutPrefix(name, c.below)
	if err == nil && inside {
		c.files[name] = blob{words[2], size}
	}
}

// Names lists the files in a directory of the tree, unsorted.
func (c *Commit) Names(dir string) []string {
	var names []string
	for name := range c.files {
		if path.Dir(name) == path.Clean(dir) {
			names = append(names, path.Base(name))
		}
	}
	return names
}

// Below is the tree that starts at a directory of this one.
func (c *Commit) Below(dir string) *Commit {
	if dir = path.Clean(dir); dir == "." {
		return c
	}
	part := *c
	part.files = map[string]blob{}
	for name, b := range c.files {
		if inside, ok := strings.CutPrefix(name, dir+"/"); ok {
			part.files[inside] = b
		}
	}
	return &part
}

// maxRead is the largest file that is read as a whole.
const maxRead = 1 << 20

// ReadFile gives a file of at most 1 MiB.
func (c *Commit) ReadFile(name string) ([]byte, error) {
	b, ok := c.files[path.Clean(name)]
	switch {
	case !ok:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case b.size > maxRead:
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxRead>>20)
	}
	return c.read("cat-file", "blob", b.id)
}

// Digests gives "sha256:" and 64 hex digits of each file that is selected.
func (c *Commit) Digests(selected func(path string) bool) (map[string]string, error) {
	var names []string
	var ids bytes.Buffer
	for name, b := range c.files {
		if selected(name) {
			names = append(names, name)
			ids.WriteString(b.id + "\n")
		}
	}
	out := map[string]string{}
	if len(names) == 0 {
		return out, nil
	}
	c.repo.stdin = &ids
	defer func() { c.repo.stdin = nil }()
	body, err := c.read("cat-file", "--batch")
	if err != nil {
		return nil, err
	}
	r := bufio.NewReader(bytes.NewReader(body))
	for _, name := range names {
		if _, err := r.ReadString('\n'); err != nil { // <id> blob <size>
			return nil, fmt.Errorf("read %s of %s: %w", name, c.SHA, err)
		}
		sum := sha256.New()
		if _, err := io.CopyN(sum, r, c.files[name].size); err != nil {
			return nil, fmt.Errorf("read %s of %s: %w", name, c.SHA, err)
		}
		if _, err := r.Discard(1); err != nil {
			return nil, fmt.Errorf("read %s of %s: %w", name, c.SHA, err)
		}
		out[name] = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	}
	return out, nil
}
