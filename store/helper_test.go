package store_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/ottoci/otto/store"
)

// fakeS3 is a bucket of a server in this process.
func fakeS3(t *testing.T) string {
	t.Helper()
	return serveS3(t, func(next http.Handler) http.Handler { return next })
}

// serveS3 is fakeS3 behind something that may answer first.
func serveS3(t *testing.T, before func(http.Handler) http.Handler) string {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("otto"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(before(gofakes3.New(backend).Server()))
	t.Cleanup(server.Close)
	return "s3://otto?region=eu-central-1&use_path_style=true&disable_https=true&prefix=ci/&endpoint=" + server.URL
}

// byMethod chooses a handler.
func byMethod(handlers map[string]http.Handler, otherwise http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler, found := handlers[r.Method]; found {
			handler.ServeHTTP(w, r)
			return
		}
		otherwise.ServeHTTP(w, r)
	})
}

// TestMain gives the S3 client credentials; the fake server takes any.
func TestMain(m *testing.M) {
	os.Setenv("AWS_ACCESS_KEY_ID", "otto")
	os.Setenv("AWS_SECRET_ACCESS_KEY", "otto")
	os.Exit(m.Run())
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// eight runs f eight times at once.
func eight(f func(i int) error) []error {
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errs
}

func objectOf(content []byte) store.Object {
	sum := sha256.Sum256(content)
	return store.Object{Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
}

func put(t *testing.T, s *store.Store, key string, content []byte) {
	t.Helper()
	if _, err := s.Put(t.Context(), key, bytes.NewReader(content), store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func mustHold(t *testing.T, s *store.Store, key string, want []byte) {
	t.Helper()
	r, size, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || size != int64(len(want)) || !bytes.Equal(got, want) {
		t.Errorf("%s holds %d bytes (%.20q…), size %d, %v; want %d (%.20q…)", key, len(got), got, size, err, len(want), want)
	}
}

func mustLack(t *testing.T, s *store.Store, key string) {
	t.Helper()
	if found, err := s.Stat(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%s is there: %v, %v", key, found, err)
	}
	if _, _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get %s: %v, want %v", key, err, store.ErrNotFound)
	}
}
