// Package bundle packs a working tree, uncommitted changes included, into a source bundle: a gzipped tar archive that is
// equal, byte for byte, for equal trees. Only the standard library is used, so that any client can make one.
package bundle

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"time"
)

// Config says what to pack. Zero values work, but for Dir.
type Config struct {
	Dir string // the tree's root
	// Always names files, relative to Dir, that belong in the bundle even if git ignores them.
	Always []string
	// Never names directories that are left out wherever they are, however the tree or they are reached: a data directory
	// in the tree would give its secrets to every step.
	Never    []string
	MaxBytes int64               // of the compressed bundle; 512 MiB if 0
	TempDir  string              // where the bundle is kept until Close; os.TempDir if empty
	Environ  []string            // for git, as os.Environ gives it; its GIT_ variables are left out
	Progress func(done, of Size) // called after each entry, if not nil
}

// Size counts entries and the bytes in them, before compression.
type Size struct {
	Entries int
	Bytes   int64
}

// Bundle is a packed tree. Close it to free its disk space; no process leaves a file behind, however it ends.
type Bundle struct {
	Digest   string // of the compressed bytes, "sha256:" and 64 hex digits
	Bytes    int64  // compressed
	Size     Size
	Warnings []string // what was left out, and why
	file     *os.File // has no name any more
}

// defaultMaxBytes is what a server takes by default, and far more than sources need.
const defaultMaxBytes = 512 << 20

// Make packs the tree. A file that disappears meanwhile is left out, as if it had never been there.
func Make(ctx context.Context, cfg Config) (*Bundle, error) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	found, err := survey(ctx, cfg, root)
	if err != nil {
		return nil, err
	}
	file, err := unnamed(cfg.TempDir)
	if err != nil {
		return nil, fmt.Errorf("make room for the source bundle: %w", err)
	}
	b := &Bundle{file: file, Warnings: found.warnings}
	if err := b.pack(ctx, cfg, root, found); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return b, nil
}

// Reader reads the bundle from its start. Any number of readers may be at it, one after the other or at once.
func (b *Bundle) Reader() io.Reader { return io.NewSectionReader(b.file, 0, b.Bytes) }

// Close frees the bundle.
func (b *Bundle) Close() error { return b.file.Close() }

// unnamed gives a temporary file that the kernel removes with its last user: not even kill -9 leaves it behind.
func unnamed(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, "otto-source-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (b *Bundle) pack(ctx context.Context, cfg Config, root *os.Root, found *tree) error {
	out := &meter{to: b.file, sum: sha256.New(), limit: cfg.MaxBytes}
	buffer := bufio.NewWriterSize(out, 1<<20)
	// Fast: most bundles go to a server on the same machine, and sources are small beside their build.
	zip, err := gzip.NewWriterLevel(buffer, gzip.BestSpeed)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(zip)
	total := found.size()
	for _, e := range found.entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := b.add(archive, root, e)
		switch {
		case errors.Is(err, errTooLarge):
			return found.tooLarge(cfg.MaxBytes)
		case err != nil:
			return fmt.Errorf("pack %s: %w", e.name, err)
		}
		if cfg.Progress != nil {
			cfg.Progress(b.Size, total)
		}
	}
	err = errors.Join(archive.Close(), zip.Close(), buffer.Flush())
	if errors.Is(err, errTooLarge) {
		return found.tooLarge(cfg.MaxBytes)
	}
	b.Bytes, b.Digest = out.bytes, "sha256:"+hex.EncodeToString(out.sum.Sum(nil))
	return err
}

// add writes one entry. Of its owner, its times and most of its mode nothing is kept: they differ between checkouts.
func (b *Bundle) add(archive *tar.Writer, root *os.Root, e entry) error {
	header := &tar.Header{Name: e.name, Mode: 0o644, ModTime: time.Unix(0, 0), Linkname: e.link, Typeflag: tar.TypeReg}
	switch {
	case e.mode.IsDir():
		header.Typeflag, header.Mode, header.Name = tar.TypeDir, 0o755, e.name+"/"
	case e.mode&fs.ModeSymlink != 0:
		header.Typeflag, header.Mode = tar.TypeSymlink, 0o777
	case e.mode&0o100 != 0:
		header.Mode = 0o755
	}
	if header.Typeflag != tar.TypeReg {
		b.Size.Entries++
		return archive.WriteHeader(header)
	}
	file, err := root.Open(e.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	header.Size = info.Size()
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	// A log that grows meanwhile is cut; one that shrinks is an error, for its entry could not be filled.
	n, err := io.CopyN(archive, file, header.Size)
	if errors.Is(err, io.EOF) {
		return errors.New("the file became shorter while it was read: try again")
	}
	b.Size.Entries++
	b.Size.Bytes += n
	return err
}

var errTooLarge = errors.New("the bundle is too large")

// meter counts and digests what passes, up to a limit.
type meter struct {
	to    io.Writer
	sum   hash.Hash
	bytes int64
	limit int64
}

func (m *meter) Write(p []byte) (int, error) {
	if m.bytes += int64(len(p)); m.bytes > m.limit {
		return 0, errTooLarge
	}
	m.sum.Write(p)
	return m.to.Write(p)
}
