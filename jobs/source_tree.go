package jobs

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
)

const (
	maxFile  = 1 << 20  // that is read as a whole
	maxKept  = 32 << 20 // of files that are kept, because planning may want them
	maxFiles = 500_000  // of a source whose files are digested: each costs some 200 bytes of memory
)

// sourceTree is a stored source as planning sees it. A bundle can only be read from its start to its end, so the first question
// is answered by going through all of it once, keeping the digests and the files that others are likely to be about.
type sourceTree struct {
	open    func() (io.ReadCloser, error)
	digests map[string]string // nil before the first question
	kept    map[string][]byte
	// broken is why the bundle could not be read. What planning makes of that says nothing about the Ottofile.
	broken error
}

// ReadFile gives a file of at most 1 MiB.
func (t *sourceTree) ReadFile(name string) ([]byte, error) {
	name = path.Clean(name)
	if err := t.index(); err != nil {
		return nil, err
	}
	if _, ok := t.digests[name]; !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if data, ok := t.kept[name]; ok {
		return data, nil
	}
	var data []byte
	err := t.walk(func(at string, file io.Reader) (err error) {
		if at == name {
			if data, err = io.ReadAll(io.LimitReader(file, maxFile+1)); err == nil {
				err = io.EOF
			}
		}
		return err
	})
	if err != nil {
		t.broken = err
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxFile>>20)
	}
	t.kept[name] = data
	return data, nil
}

// Digests gives "sha256:" and 64 hex digits of each regular file that is selected.
func (t *sourceTree) Digests(selected func(path string) bool) (map[string]string, error) {
	if err := t.index(); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, digest := range t.digests {
		if selected(name) {
			out[name] = digest
		}
	}
	return out, nil
}

// index goes through the bundle, unless that was done before.
func (t *sourceTree) index() error {
	if t.digests != nil || t.broken != nil {
		return t.broken
	}
	digests, kept, room := map[string]string{}, map[string][]byte{}, maxKept
	err := t.walk(func(name string, file io.Reader) error {
		if len(digests) >= maxFiles {
			return fmt.Errorf("the source has more than %d files, and its Ottofile asks for what is in them", maxFiles)
		}
		sum := sha256.New()
		if likely(name) && room >= maxFile {
			data, err := io.ReadAll(io.TeeReader(io.LimitReader(file, maxFile+1), sum))
			if err != nil {
				return err
			}
			if len(data) <= maxFile {
				kept[name] = data
				room -= len(data)
			}
		}
		_, err := io.Copy(sum, file)
		digests[name] = "sha256:" + hex.EncodeToString(sum.Sum(nil))
		return err
	})
	if err != nil {
		t.broken = fmt.Errorf("read the source: %w", err)
		return t.broken
	}
	t.digests, t.kept = digests, kept
	return nil
}

// likely says whether a file is of the kind that Ottofiles refer to.
func likely(name string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json", ".lock"}, path.Ext(name))
}

// walk calls visit for each regular file of the bundle, until it answers an error; io.EOF ends the walk and is none.
func (t *sourceTree) walk(visit func(name string, file io.Reader) error) error {
	bundle, err := t.open()
	if err != nil {
		return err
	}
	defer bundle.Close()
	return walkBundle(bundle, visit)
}

// walkBundle calls visit for each regular file of a bundle (tar, gzip), until it answers an error; io.EOF ends the walk and is none.
func walkBundle(bundle io.Reader, visit func(name string, file io.Reader) error) error {
	unzipped, err := gzip.NewReader(bundle)
	if err != nil {
		return fmt.Errorf("unpack the source: %w", err)
	}
	files := tar.NewReader(io.LimitReader(unzipped, maxBundleBytes))
	for range maxBundleEntries {
		head, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack the source: %w", err)
		}
		name := path.Clean(head.Name)
		if head.Typeflag != tar.TypeReg || !filepath.IsLocal(name) {
			continue
		}
		switch err := visit(name, files); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read %s from the source: %w", name, err)
		}
	}
	return fmt.Errorf("the source has more than %d entries", maxBundleEntries)
}
