// Package store keeps bytes: sources, logs, artifacts and caches.
//
// An object is immutable: once a key answers, it answers the same bytes until it is deleted. The store is a folder
// by default, or an S3 bucket by URL. What Put has acknowledged survives a power cut.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// Refusals. Their text says which key, and what was found.
var (
	ErrNotFound = errors.New("no such object")
	ErrKey      = errors.New("not a key of the store")
	ErrConflict = errors.New("the key holds other bytes")
	ErrDigest   = errors.New("the bytes are not what was announced")
	ErrTooLarge = errors.New("the object is too large")
)

// Store is one place for objects. Its methods may be called concurrently.
type Store struct {
	bucket *blob.Bucket
	writer writer
}

// writer makes an object appear whole or not at all. It fails with errExists if the key is taken; check runs after
// the last byte and before the object appears.
type writer interface {
	write(ctx context.Context, key string, r io.Reader, check func() error) error
	ready(ctx context.Context) error
	close() error
}

// errExists is how a writer says that the key is taken.
var errExists = errors.New("the key is taken")

// Open opens the store at a folder's path, which is made if missing, or at a URL: file:///srv/otto, mem:// (gone
// with the process), s3://bucket?region=eu-central-1 (more in gocloud.dev/blob/s3blob; S3-compatible services by
// endpoint=, folders of a bucket by prefix=).
func Open(ctx context.Context, place string) (*Store, error) {
	path, isFolder, err := folderPath(place)
	if err != nil {
		return nil, err
	}
	if isFolder {
		return openFolder(path)
	}
	if scheme, _, _ := strings.Cut(place, "://"); !blob.DefaultURLMux().ValidBucketScheme(scheme) {
		return nil, fmt.Errorf("open the store at %s: otto knows folders, file://, mem:// and s3://", redacted(place))
	}
	bucket, err := blob.OpenBucket(ctx, place)
	if err != nil {
		return nil, fmt.Errorf("open the store at %s: %w", redacted(place), err)
	}
	return &Store{bucket: bucket, writer: bucketWriter{bucket}}, nil
}

// folderPath is the path of a store that is a folder.
func folderPath(place string) (path string, isFolder bool, err error) {
	if place == "" {
		return "", false, errors.New("open the store: no place given: name a folder or a URL")
	}
	if !strings.Contains(place, "://") {
		return place, true, nil
	}
	parsed, err := url.Parse(place)
	if err != nil {
		return "", false, fmt.Errorf("open the store: %w", err)
	}
	switch {
	case parsed.Scheme != "file":
		return "", false, nil
	case parsed.Host != "" && parsed.Host != "localhost":
		return "", false, fmt.Errorf("open the store at %s: a file URL has three slashes, like file:///srv/otto", place)
	}
	return filepath.FromSlash(parsed.Path), true, nil
}

// redacted is a URL without what may be secret in it.
func redacted(place string) string {
	before, _, _ := strings.Cut(place, "?")
	if parsed, err := url.Parse(before); err == nil {
		return parsed.Redacted()
	}
	return before
}

// Close gives up the store's connections.
func (s *Store) Close() error { return errors.Join(s.writer.close(), s.bucket.Close()) }

// Ready says whether the store answers, and as far as that can be tried at no cost, whether it takes objects.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.writer.ready(ctx); err != nil {
		return fmt.Errorf("the object store is not ready: %w", err)
	}
	return nil
}

// Get opens an object and says its size. The caller closes it.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if err := checkKey(key); err != nil {
		return nil, 0, err
	}
	r, err := s.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return nil, 0, about("read", key, err)
	}
	return r, r.Size(), nil
}

// GetRange opens n bytes from off; a negative n means to the end. What lies beyond the end is not there: such a
// reader is short, or empty. The caller closes it.
func (s *Store) GetRange(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if off < 0 {
		return nil, fmt.Errorf("read %s: offset %d is negative", key, off)
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	r, err := s.bucket.NewRangeReader(ctx, key, off, n, nil)
	if err == nil {
		return r, nil
	}
	// Places disagree on ranges that begin at or after the end.
	if found, missing := s.Stat(ctx, key); missing != nil {
		return nil, missing
	} else if off >= found.Size {
		return io.NopCloser(strings.NewReader("")), nil
	}
	return nil, about("read", key, err)
}

// Attributes are what is known of an object without reading it.
type Attributes struct {
	Size       int64
	ModifiedAt time.Time
}

// Stat says what is known of an object without reading it.
func (s *Store) Stat(ctx context.Context, key string) (Attributes, error) {
	if err := checkKey(key); err != nil {
		return Attributes{}, err
	}
	found, err := s.bucket.Attributes(ctx, key)
	if err != nil {
		return Attributes{}, about("look at", key, err)
	}
	return Attributes{Size: found.Size, ModifiedAt: found.ModTime}, nil
}

// Delete removes an object. Removing what is not there is no error: whoever repeats a delete wants it gone.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := s.bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return about("delete", key, err)
	}
	return nil
}

// about says what was done to which object, and turns the place's way of saying "not there" into ours.
func about(act, key string, err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%s %s: %w", act, key, ErrNotFound)
	}
	return fmt.Errorf("%s %s: %w", act, key, err)
}
