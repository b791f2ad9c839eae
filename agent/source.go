package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/ottoci/otto/client"
)

// sources keeps source bundles on disk, by digest: the tasks of a run, and its reruns, share one.
type sources struct {
	dir   string
	limit int64 // bytes

	mu       sync.Mutex
	fetching map[string]chan struct{} // closed when the fetch of this digest has ended
}

// open starts the transfer of a bundle from the server.
type open func(context.Context) (io.ReadCloser, error)

const (
	// stallLimit ends a transfer in which no byte arrives for so long.
	stallLimit = time.Minute
	// maxBundleBytes bounds a bundle whose size the server does not say.
	maxBundleBytes = 4 << 30
)

var (
	digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	errDigest  = errors.New("the bytes do not have the digest")
	errStalled = errors.New("the transfer stalled")
)

// get gives the bundle, from the cache or from the server. The file may be removed from the cache while it is open.
func (s *sources) get(ctx context.Context, ref client.SourceRef, from open) (*os.File, error) {
	if !digestForm.MatchString(ref.Digest) {
		return nil, fmt.Errorf("%q is not a digest", ref.Digest)
	}
	for {
		f, err := os.Open(s.path(ref.Digest))
		if err == nil {
			now := time.Now()
			_ = os.Chtimes(f.Name(), now, now) // what was used last is evicted last
			return f, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		s.mu.Lock()
		busy, taken := s.fetching[ref.Digest]
		if !taken {
			if s.fetching == nil {
				s.fetching = map[string]chan struct{}{}
			}
			busy = make(chan struct{})
			s.fetching[ref.Digest] = busy
		}
		s.mu.Unlock()
		if !taken {
			f, err := s.fetch(ctx, ref, from)
			s.mu.Lock()
			delete(s.fetching, ref.Digest)
			s.mu.Unlock()
			close(busy)
			return f, err
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// forget removes a bundle that turned out to be damaged.
func (s *sources) forget(digest string) error { return os.Remove(s.path(digest)) }

func (s *sources) path(digest string) string {
	return filepath.Join(s.dir, "sha256-"+digest[len("sha256:"):]+".tar.gz")
}

// fetch writes the bundle to a temporary file and gives it its name once the digest is right.
func (s *sources) fetch(ctx context.Context, ref client.SourceRef, from open) (*os.File, error) {
	f, err := os.CreateTemp(s.dir, ".fetch-*")
	if err != nil {
		return nil, err
	}
	if err := s.receive(ctx, f, ref, from); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	s.evict(ref.Bytes)
	path := s.path(ref.Digest)
	_, err = f.Seek(0, io.SeekStart)
	if err = errors.Join(err, os.Rename(f.Name(), path)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (s *sources) receive(ctx context.Context, to io.Writer, ref client.SourceRef, from open) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(stallLimit, func() { cancel(errStalled) })
	defer stall.Stop()
	body, err := from(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	limit := ref.Bytes
	if limit <= 0 {
		limit = maxBundleBytes
	}
	sum := newVerifier(ref.Digest)
	alive := writerFunc(func(p []byte) (int, error) { stall.Reset(stallLimit); return len(p), nil })
	if _, err := io.Copy(io.MultiWriter(to, sum, alive), io.LimitReader(body, limit+1)); err != nil {
		return err
	}
	return sum.verify()
}

// evict makes room for a new bundle by removing those that were not used for the longest time.
func (s *sources) evict(room int64) {
	paths, _ := filepath.Glob(filepath.Join(s.dir, "sha256-*"))
	type bundle struct {
		path string
		info fs.FileInfo
	}
	var bundles []bundle
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			bundles = append(bundles, bundle{path, info})
			room += info.Size()
		}
	}
	slices.SortFunc(bundles, func(a, b bundle) int { return a.info.ModTime().Compare(b.info.ModTime()) })
	for _, b := range bundles {
		if room <= s.limit {
			return
		}
		_ = os.Remove(b.path)
		room -= b.info.Size()
	}
}

// verifier compares what is written to it with a digest.
type verifier struct {
	hash.Hash
	want string
}

func newVerifier(digest string) verifier { return verifier{sha256.New(), digest} }

func (v verifier) verify() error {
	if got := "sha256:" + hex.EncodeToString(v.Sum(nil)); got != v.want {
		return fmt.Errorf("%w %s but %s", errDigest, v.want, got)
	}
	return nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
