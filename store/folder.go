package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"gocloud.dev/blob/fileblob"
)

const (
	incoming   = ".incoming" // objects that are being written; no key begins with a dot
	abandoned  = 24 * time.Hour
	parentMode = 0o755
	folderMode = 0o700
	objectMode = 0o600
)

// folder writes objects to a folder. The library's own writer does neither what "survives a power cut" nor what
// "immutable" takes: it syncs nothing, and two writers of one key both succeed.
type folder struct{ root *os.Root }

// openFolder makes the folder if it is missing. Only our own user gets in; its parents are for others, too.
func openFolder(path string) (*Store, error) {
	err := os.MkdirAll(filepath.Dir(path), parentMode)
	if err == nil {
		err = os.MkdirAll(path, folderMode)
	}
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	f := folder{root}
	if err := f.sweep(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store at %s: %w", path, err), root.Close())
	}
	bucket, err := fileblob.OpenBucket(path, &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite, DirFileMode: folderMode})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the store at %s: %w", path, err), root.Close())
	}
	return &Store{bucket: bucket, writer: f}, nil
}

func (f folder) close() error { return f.root.Close() }

// sweep removes what killed processes were writing. Other processes may be writing now, so only what is old goes.
func (f folder) sweep() error {
	if err := f.root.MkdirAll(incoming, folderMode); err != nil {
		return err
	}
	dir, err := f.root.Open(incoming)
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || time.Since(info.ModTime()) < abandoned {
			continue
		}
		if err := f.root.Remove(path.Join(incoming, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ready tries what a Put does first.
func (f folder) ready(context.Context) error {
	out, err := f.create()
	if err != nil {
		return err
	}
	return errors.Join(out.Close(), f.root.Remove(out.Name()))
}

// write fills a file aside, syncs it, and links it to its name: a link, unlike a rename, never replaces.
func (f folder) write(_ context.Context, key string, r io.Reader, check func() error) error {
	out, err := f.create()
	if err != nil {
		return err
	}
	defer f.root.Remove(out.Name())
	if err := fill(out, r, check); err != nil {
		return err
	}
	parent := path.Dir(key)
	isNew := f.missing(parent)
	if err := f.root.MkdirAll(parent, folderMode); err != nil {
		return err
	}
	if err := f.root.Link(out.Name(), key); errors.Is(err, fs.ErrExist) {
		return errExists
	} else if err != nil {
		return err
	}
	return f.syncUp(parent, isNew)
}

// create opens a file of a name nobody has, below the folder. Its Name is relative to the folder.
func (f folder) create() (*named, error) {
	name := path.Join(incoming, rand.Text())
	file, err := f.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, objectMode)
	if err != nil {
		return nil, err
	}
	return &named{file, name}, nil
}

// named is a file with its name inside the root; os.File's own includes the root's.
type named struct {
	*os.File
	name string
}

func (n *named) Name() string { return n.name }

func fill(out *named, r io.Reader, check func() error) error {
	_, err := io.Copy(out.File, r)
	if err == nil {
		err = check()
	}
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func (f folder) missing(dir string) bool {
	_, err := f.root.Stat(dir)
	return err != nil
}

// syncUp makes a new name in dir survive a power cut, and where dir itself is new, the names on the way to it.
func (f folder) syncUp(dir string, isNew bool) error {
	for ; ; dir = path.Dir(dir) {
		open, err := f.root.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(open.Sync(), open.Close()); err != nil {
			return err
		}
		if !isNew || dir == "." {
			return nil
		}
	}
}
