package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// Object is what was written.
type Object struct {
	Size   int64
	SHA256 string // hexadecimal
}

// PutOptions are what a Put insists on; the zero value on nothing.
type PutOptions struct {
	Limit  int64  // most bytes that are taken; 0 takes any number
	SHA256 string // what the bytes must hash to, hexadecimal; empty takes any bytes
}

// Put stores what r gives, whole or not at all: an error leaves nothing behind. If the key already holds the same
// bytes, that is fine and nothing changes; if it holds others, they stay, and the error is ErrConflict.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, opts PutOptions) (Object, error) {
	if err := checkKey(key); err != nil {
		return Object{}, err
	}
	in := &meter{ctx: ctx, from: r, limit: opts.Limit, sum: sha256.New()}
	err := s.writer.write(ctx, key, in, func() error { return in.check(opts.SHA256) })
	if errors.Is(err, errExists) {
		err = s.compare(ctx, key, in, opts.SHA256)
	}
	if err != nil {
		return Object{}, fmt.Errorf("store %s: %w", key, err)
	}
	return in.object(), nil
}

// compare turns the discovery that a key is taken into success, if it holds the bytes that were to be written. A
// bucket may say so before it has taken them all.
func (s *Store) compare(ctx context.Context, key string, in *meter, announced string) error {
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	if err := in.check(announced); err != nil {
		return err
	}
	err := s.Verify(ctx, key, in.object())
	if errors.Is(err, ErrDigest) {
		return ErrConflict
	}
	return err
}

// PutSource stores a source bundle under its digest, "sha256:" and 64 hexadecimal digits, once all of it has
// arrived and is what the digest says. At most limit bytes are taken.
func (s *Store) PutSource(ctx context.Context, r io.Reader, digest string, limit int64) (Object, error) {
	key, err := SourceKey(digest)
	if err != nil {
		return Object{}, err
	}
	return s.Put(ctx, key, r, PutOptions{Limit: limit, SHA256: strings.TrimPrefix(digest, digestPrefix)})
}

const digestPrefix = "sha256:"

// SourceKey is where the source bundle of a digest is kept. The level of two digits keeps folders small.
func SourceKey(digest string) (string, error) {
	sum, found := strings.CutPrefix(digest, digestPrefix)
	if !found || len(sum) != 2*sha256.Size || strings.Trim(sum, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%w: %.100q is no digest: it must be sha256: and 64 small hexadecimal digits", ErrKey, digest)
	}
	return "sources/sha256/" + sum[:2] + "/" + sum, nil
}

// Verify reads an object back and compares it with what was written. The error is ErrDigest if it differs.
func (s *Store) Verify(ctx context.Context, key string, want Object) error {
	r, size, err := s.Get(ctx, key)
	if err != nil {
		return err
	}
	defer r.Close()
	if size != want.Size {
		return fmt.Errorf("verify %s: %w: it has %d bytes, not %d", key, ErrDigest, size, want.Size)
	}
	in := &meter{ctx: ctx, from: r, sum: sha256.New()}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return fmt.Errorf("verify %s: %w", key, err)
	}
	if got := in.object(); got != want {
		return fmt.Errorf("verify %s: %w: it is %d bytes with SHA-256 %s, not %d bytes with %s",
			key, ErrDigest, got.Size, got.SHA256, want.Size, want.SHA256)
	}
	return nil
}

// meter passes bytes on, and measures them on the way.
type meter struct {
	ctx   context.Context // of the one Put it lives for
	from  io.Reader
	limit int64
	size  int64
	sum   hash.Hash
}

// Read also ends a transfer whose caller has gone: the source of the bytes may never notice.
func (m *meter) Read(p []byte) (int, error) {
	if m.ctx.Err() != nil {
		return 0, context.Cause(m.ctx)
	}
	n, err := m.from.Read(p)
	m.size += int64(n)
	m.sum.Write(p[:n]) // never fails
	if m.limit > 0 && m.size > m.limit {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, m.limit)
	}
	return n, err
}

func (m *meter) object() Object {
	return Object{Size: m.size, SHA256: hex.EncodeToString(m.sum.Sum(nil))}
}

// check refuses bytes other than those announced.
func (m *meter) check(sha256 string) error {
	if got := m.object(); sha256 != "" && got.SHA256 != sha256 {
		return fmt.Errorf("%w: %d bytes arrived with SHA-256 %s, announced was %s", ErrDigest, got.Size, got.SHA256, sha256)
	}
	return nil
}
