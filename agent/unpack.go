package agent

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// unpacker writes a source bundle into a directory, and nowhere else. A bundle is written by whoever can start a run, so
// it is taken for hostile: only files, directories and links that stay inside are accepted, and only so much of them.
type unpacker struct {
	root    *os.Root
	bytes   int64 // that may still be written
	entries int   // that may still be made
	links   []*tar.Header
}

// maxTrailer bounds the padding behind the end of an archive, in bytes; tar pads to 10 KiB.
const maxTrailer = 1 << 20

// unpack reads a gzipped tar archive to its end. One bad entry refuses the whole bundle.
func (u *unpacker) unpack(bundle io.Reader) error {
	zip, err := gzip.NewReader(bundle)
	if err != nil {
		return err
	}
	for archive := tar.NewReader(zip); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := u.entry(header, archive); err != nil {
			return fmt.Errorf("entry %.200q: %w", header.Name, err)
		}
	}
	// What follows the archive counts for the digest and, being compressed, could be endless.
	n, err := io.Copy(io.Discard, io.LimitReader(zip, maxTrailer))
	if err != nil {
		return err
	}
	if n == maxTrailer {
		return errors.New("there is more behind the archive's end")
	}
	return u.link()
}

func (u *unpacker) entry(header *tar.Header, content io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader { // git archive writes one
		return nil
	}
	if u.entries--; u.entries < 0 {
		return errors.New("too many entries")
	}
	name, err := localName(header.Name)
	if err != nil {
		return err
	}
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeDir:
		return u.root.MkdirAll(name, 0o755)
	case tar.TypeReg:
		return u.file(name, header, content)
	case tar.TypeSymlink:
		// Made last: as long as there are no links, nothing can be written through one.
		header.Name = name
		u.links = append(u.links, header)
		return nil
	}
	return fmt.Errorf("type %q is neither a file, a directory nor a symbolic link", header.Typeflag)
}

// file writes a file, which must be new. Of its mode only "executable" survives.
func (u *unpacker) file(name string, header *tar.Header, content io.Reader) error {
	if u.bytes -= header.Size; u.bytes < 0 {
		return errors.New("too many bytes")
	}
	mode := fs.FileMode(0o644)
	if header.Mode&0o100 != 0 {
		mode = 0o755
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// link makes the symbolic links, then follows each: links that look harmless one by one can lead outside together.
func (u *unpacker) link() error {
	for _, header := range u.links {
		target := header.Linkname
		if _, err := localName(path.Join(path.Dir(header.Name), target)); err != nil || path.IsAbs(target) {
			return fmt.Errorf("entry %.200q: the link to %.200q leads outside", header.Name, target)
		}
		if err := u.root.Symlink(target, header.Name); err != nil {
			return fmt.Errorf("entry %.200q: %w", header.Name, err)
		}
	}
	for _, header := range u.links {
		if _, err := u.root.Stat(header.Name); err != nil && !dangling(err) {
			return fmt.Errorf("entry %.200q: the link to %.200q leads outside: %w", header.Name, header.Linkname, err)
		}
	}
	return nil
}

// dangling says whether a link leads nowhere, which is odd but does no harm: repositories have such links as test data.
func dangling(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR)
}

// localName cleans a name and refuses it if it leads outside.
func localName(name string) (string, error) {
	if strings.ContainsRune(name, 0) || !filepath.IsLocal(name) {
		return "", errors.New("the name leads outside")
	}
	return path.Clean(name), nil
}
