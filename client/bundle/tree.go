package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// tree is what a bundle will hold, sorted by name.
type tree struct {
	root     *os.Root
	entries  []entry
	seen     map[string]bool
	never    []string // directories that are left out
	warnings []string
}

// entry is a file, a symbolic link or an empty directory.
type entry struct {
	name string // below the root, slash separated
	mode fs.FileMode
	size int64
	link string // where a symbolic link leads
}

// survey lists the tree: what git knows or would add, or everything where git is not in use.
func survey(ctx context.Context, cfg Config, root *os.Root) (*tree, error) {
	never, err := within(cfg.Dir, cfg.Never)
	if err != nil {
		return nil, err
	}
	t := &tree{root: root, seen: map[string]bool{}, never: never}
	repo := worktree{dir: cfg.Dir, environ: cfg.Environ}
	if err := t.collect(ctx, repo, "."); err != nil {
		return nil, err
	}
	for _, name := range cfg.Always {
		if err := t.add(filepath.ToSlash(name)); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(t.entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	return t, nil
}

// within names those directories that are in the tree, relative to it. Links on the way to either are followed.
func within(tree string, dirs []string) (names []string, err error) {
	root, err := resolve(tree)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		at, err := resolve(dir)
		if missing(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if name, err := filepath.Rel(root, at); err == nil && filepath.IsLocal(name) {
			names = append(names, filepath.ToSlash(name))
		}
	}
	return names, nil
}

func resolve(dir string) (string, error) {
	at, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(at)
}

// leftOut says whether a name is that of a directory that is left out, or is in it.
func (t *tree) leftOut(name string) bool {
	return slices.ContainsFunc(t.never, func(dir string) bool {
		return dir == "." || name == dir || strings.HasPrefix(name, dir+"/")
	})
}

// collect adds what is below a directory. Submodules and repositories that lie in the tree have their own rules of what
// to ignore, so each is asked for itself.
func (t *tree) collect(ctx context.Context, repo worktree, dir string) error {
	names, err := repo.list(ctx, dir)
	switch {
	case errors.Is(err, errNoGit):
		t.warn("git is not installed: files that it would ignore are included")
		return t.walk(dir)
	case errors.Is(err, errNotGit):
		return t.walk(dir)
	case err != nil:
		return err
	}
	for _, name := range names {
		name = path.Join(dir, name)
		if t.leftOut(name) {
			continue
		}
		info, err := t.root.Lstat(name)
		switch {
		case missing(err): // deleted, and the deletion not staged yet
		case err != nil:
			return err
		case info.IsDir():
			if err := t.collect(ctx, repo, name); err != nil {
				return err
			}
		default:
			if err := t.add(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// walk adds everything below a directory but git's own data.
func (t *tree) walk(dir string) error {
	return fs.WalkDir(t.root.FS(), dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && t.leftOut(name):
			return fs.SkipDir
		case d.Name() == ".git" && d.IsDir():
			return fs.SkipDir
		case d.Name() == ".git":
			return nil
		case d.IsDir():
			return t.addEmpty(name)
		}
		return t.add(name)
	})
}

// addEmpty adds a directory, if nothing in it says that it is there.
func (t *tree) addEmpty(name string) error {
	inside, err := fs.ReadDir(t.root.FS(), name)
	if err != nil || len(inside) > 0 || name == "." {
		return err
	}
	t.entries = append(t.entries, entry{name: name, mode: fs.ModeDir})
	return nil
}

// add takes in a file or link; what cannot travel is left out with a warning.
func (t *tree) add(name string) error {
	if t.seen[name] { // git lists a file with conflicts once for each side
		return nil
	}
	info, err := t.root.Lstat(name)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	e := entry{name: name, mode: info.Mode()}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		e.size = info.Size()
	case mode&fs.ModeSymlink != 0:
		if e.link, err = t.root.Readlink(name); err != nil {
			return err
		}
		if !t.staysInside(e) {
			t.warn("%s is left out: the link leads out of the tree, to %s", name, e.link)
			return nil
		}
	default:
		t.warn("%s is left out: it is %s, and only files, directories and links can be packed", name, kind(mode))
		return nil
	}
	t.seen[name] = true
	t.entries = append(t.entries, e)
	return nil
}

// staysInside says whether a link leads to a place in the tree, or to none. Agents refuse a bundle with any other.
func (t *tree) staysInside(e entry) bool {
	if path.IsAbs(e.link) || !filepath.IsLocal(path.Join(path.Dir(e.name), e.link)) {
		return false
	}
	_, err := t.root.Stat(e.name)
	return err == nil || missing(err) || errors.Is(err, syscall.ELOOP)
}

func (t *tree) warn(format string, args ...any) {
	t.warnings = append(t.warnings, fmt.Sprintf(format, args...))
}

func (t *tree) size() Size {
	s := Size{Entries: len(t.entries)}
	for _, e := range t.entries {
		s.Bytes += e.size
	}
	return s
}

// TooLargeError says what fills a bundle that is over its limit.
type TooLargeError struct {
	Limit   int64
	Largest []Share // the largest first
}

// Share is how much an entry of the tree's root holds, before compression.
type Share struct {
	Name  string
	Bytes int64
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the source bundle is larger than %d MB", e.Limit>>20)
}

// shown is how many of the largest entries are worth a person's attention.
const shown = 3

func (t *tree) tooLarge(limit int64) error {
	held := map[string]int64{}
	for _, e := range t.entries {
		top, _, _ := strings.Cut(e.name, "/")
		held[top] += e.size
	}
	var shares []Share
	for name, bytes := range held {
		shares = append(shares, Share{name, bytes})
	}
	slices.SortFunc(shares, func(a, b Share) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Name, b.Name)) })
	return &TooLargeError{Limit: limit, Largest: shares[:min(len(shares), shown)]}
}

// missing says whether there is nothing of that name; a file where git remembers a directory is one way to that.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func kind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "neither a file nor a link"
}
