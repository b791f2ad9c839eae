package store_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ottoci/otto/store"
)

// S3 answers 409 to one of two writers at the same moment. It must not take that for a failure.
func TestSimultaneousPutToS3(t *testing.T) {
	t.Parallel()
	conflict := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(httptest.NewRecorder(), r) // the other writer's bytes are the same
			w.WriteHeader(http.StatusConflict)
			io.WriteString(w, "<Error><Code>ConditionalRequestConflict</Code></Error>")
		})
	}
	s, err := store.Open(t.Context(), serveS3(t, func(next http.Handler) http.Handler {
		return byMethod(map[string]http.Handler{http.MethodPut: conflict(next)}, next)
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put(t, s, "logs/1", []byte("hello"))
	mustHold(t, s, "logs/1", []byte("hello"))
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for place, says := range map[string]string{
		"":                           "name a folder",
		file:                         "not a directory",
		"file://srv/otto":            "three slashes",
		"nope://bucket?secret=hush":  "at nope://bucket: otto knows",
		"s3://bucket?regoin=nowhere": "regoin",
	} {
		_, err := store.Open(t.Context(), place)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hush") {
			t.Errorf("Open(%q): %v, want %q", place, err, says)
		}
	}
}

func TestReadyRefuses(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("a folder that is gone is ready")
	}
}
