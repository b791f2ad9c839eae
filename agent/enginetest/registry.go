//go:build linux

package enginetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// Registry is a registry of one image, which the engine can pull.
type Registry struct {
	Image string       // its name, for the engine
	Host  string       // the registry's name in it
	Pulls atomic.Int64 // how often its tag was looked up

	user, password string
	manifest       []byte
	blobs          map[string][]byte
}

// Registry serves an image made of files. Without the right name and password it serves nothing, unless they are empty.
func (e *Engine) Registry(t testing.TB, files []File, user, password string) *Registry {
	t.Helper()
	r := &Registry{user: user, password: password, blobs: map[string][]byte{}}
	layer, err := io.ReadAll(Archive(t, files))
	if err != nil {
		t.Fatalf("enginetest: %v", err)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{"Env": []string{"PATH=/bin", "FROM=registry"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	if err != nil {
		t.Fatalf("enginetest: %v", err)
	}
	const prefix = "application/vnd.docker.distribution.manifest.v2+json"
	part := func(kind string, body []byte) map[string]any {
		r.blobs[digest(body)] = body
		return map[string]any{"mediaType": kind, "size": len(body), "digest": digest(body)}
	}
	r.manifest, err = json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": prefix,
		"config": part("application/vnd.docker.container.image.v1+json", config),
		"layers": []any{part("application/vnd.docker.image.rootfs.diff.tar", layer)},
	})
	if err != nil {
		t.Fatalf("enginetest: %v", err)
	}
	r.serve(t, e.Listen(t))
	return r
}

func (r *Registry) serve(t testing.TB, at net.Listener) {
	server := &httptest.Server{Listener: at, Config: &http.Server{Handler: r}} //nolint:gosec // loopback of a test
	server.Start()
	t.Cleanup(server.Close)
	r.Host = at.Addr().String()
	r.Image = r.Host + "/team/app:1"
}

// ServeHTTP answers as registries do.
func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if user, password, _ := q.BasicAuth(); user != r.user || password != r.password {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	path, isBlob := strings.CutPrefix(q.URL.Path, "/v2/team/app/blobs/")
	switch {
	case q.URL.Path == "/v2/":
	case strings.HasPrefix(q.URL.Path, "/v2/team/app/manifests/"):
		if strings.HasSuffix(q.URL.Path, "/manifests/1") { // then, perhaps, by digest
			r.Pulls.Add(1)
		}
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
		w.Header().Set("Docker-Content-Digest", digest(r.manifest))
		_, _ = io.Copy(w, bytes.NewReader(r.manifest))
	case isBlob && r.blobs[path] != nil:
		_, _ = io.Copy(w, bytes.NewReader(r.blobs[path]))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}
