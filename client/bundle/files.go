package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// MaxFile is the largest file that is read as a whole.
const MaxFile = 1 << 20

// Files are the regular files of a tree, as its bundle will hold them, to be looked at before it is packed.
type Files struct {
	dir     string
	names   []string // sorted
	known   map[string]bool
	digests map[string]string // of those that were asked for
}

// List finds the files that Make would pack. What changes later is seen as it is then.
func List(ctx context.Context, cfg Config) (*Files, error) {
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	found, err := survey(ctx, cfg, root)
	if err != nil {
		return nil, err
	}
	f := &Files{dir: cfg.Dir, known: map[string]bool{}, digests: map[string]string{}}
	for _, e := range found.entries {
		if e.mode.IsRegular() {
			f.names, f.known[e.name] = append(f.names, e.name), true
		}
	}
	return f, nil
}

// Names lists the files, sorted.
func (f *Files) Names() []string { return f.names }

// ReadFile gives a file of at most 1 MiB. Links are not followed: a bundle is read from its start to its end, where they cannot be.
func (f *Files) ReadFile(name string) (data []byte, err error) {
	name = path.Clean(name)
	err = f.open(name, func(file *os.File) error {
		data, err = io.ReadAll(io.LimitReader(file, MaxFile+1))
		if len(data) > MaxFile {
			err = fmt.Errorf("%s is larger than %d MiB", name, MaxFile>>20)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Digests gives "sha256:" and 64 hex digits of each file that is selected.
func (f *Files) Digests(selected func(path string) bool) (map[string]string, error) {
	out := map[string]string{}
	for _, name := range f.names {
		if !selected(name) {
			continue
		}
		if f.digests[name] == "" {
			sum := sha256.New()
			err := f.open(name, func(file *os.File) error { _, err := io.Copy(sum, file); return err })
			if errors.Is(err, fs.ErrNotExist) { // gone meanwhile, as Make would see it
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("digest %s: %w", name, err)
			}
			f.digests[name] = "sha256:" + hex.EncodeToString(sum.Sum(nil))
		}
		out[name] = f.digests[name]
	}
	return out, nil
}

func (f *Files) open(name string, do func(*os.File) error) error {
	if !f.known[name] {
		return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	file, err := os.OpenInRoot(f.dir, name)
	if err != nil {
		return err
	}
	defer file.Close()
	return do(file)
}
