package agent_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/client"
)

// bundle makes a tar.gz of entries; content goes with regular files, and link is a link's target.
func bundle(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	for _, h := range entries {
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o644
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := archive.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(archive, zeros{}, h.Size); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// giveSource queues a task with a source.
func (s *server) giveSource(body []byte, spec client.TaskSpec) *record {
	sum := sha256.Sum256(body)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	s.locked(func() { s.sources[digest] = body })
	return s.giveLease(client.Lease{Spec: spec, Source: &client.SourceRef{Digest: digest, Bytes: int64(len(body))}})
}

func TestSourceIsUnpacked(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s)
	body := bundle(t,
		tar.Header{Name: "pax_global_header", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}},
		tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./d/run", Mode: 0o6755, Size: 3},
		tar.Header{Name: "deep/er/f", Size: 100_000},
		tar.Header{Name: "d/link", Typeflag: tar.TypeSymlink, Linkname: "../deep/er/f"},
		tar.Header{Name: "nowhere", Typeflag: tar.TypeSymlink, Linkname: "gone"},
		tar.Header{Name: "loop", Typeflag: tar.TypeSymlink, Linkname: "loop"},
	)
	script := sh("stat -c '%n %a %F %s' d/run deep/er/f d/link nowhere; wc -c <d/link; ls -A")
	for range 2 { // the second time from the cache
		rec := s.giveSource(body, steps(script))
		log := s.logOf(t, rec, s.finished(t, rec).Log)
		want := "d/run 755 regular file 3\ndeep/er/f 644 regular file 100000\nd/link 777 symbolic link 12\nnowhere 777 symbolic link 4\n" +
			"100000\nd\ndeep\nloop\nnowhere\n"
		if got := text(log, "stdout"); got != want {
			t.Errorf("got %s%s", got, text(log, "stderr"))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls["source"] != 1 {
		t.Errorf("fetched %d times", s.calls["source"])
	}
}

func TestHostileSourceIsRefused(t *testing.T) {
	t.Parallel()
	link := func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
	}
	tests := []struct {
		name    string
		entries []tar.Header
		want    string
	}{
		{"parent", []tar.Header{{Name: "../evil"}}, "the name leads outside"},
		{"parent_in_the_middle", []tar.Header{{Name: "a/../../evil"}}, "the name leads outside"},
		{"absolute", []tar.Header{{Name: "/tmp/evil"}}, "the name leads outside"},
		{"link_to_parent", []tar.Header{link("l", "../evil")}, "leads outside"},
		{"absolute_link", []tar.Header{link("l", "/etc/passwd")}, "leads outside"},
		{"write_through_a_link", []tar.Header{link("l", "/tmp"), {Name: "l/evil"}}, "leads outside"},
		{"write_through_a_link_inside", []tar.Header{{Name: "d/", Typeflag: tar.TypeDir}, link("l", "d"), {Name: "l/evil"}}, "file exists"},
		{"links_that_lead_outside_together", []tar.Header{{Name: "a/b/f"}, link("a/b/d", "."), link("e", "a/b/d/../../../x")}, "leads outside"},
		{"same_name_twice", []tar.Header{{Name: "f"}, {Name: "f"}}, "file exists"},
		{"hard_link", []tar.Header{{Name: "f"}, {Name: "h", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}}, "neither a file"},
		{"fifo", []tar.Header{{Name: "p", Typeflag: tar.TypeFifo}}, "neither a file"},
		{"device", []tar.Header{{Name: "z", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 5}}, "neither a file"},
		{"too_many_bytes", []tar.Header{{Name: "a", Size: 900_000}, {Name: "b", Size: 900_000}}, "too many bytes"},
		{"too_many_entries", []tar.Header{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}, {Name: "e"}}, "too many entries"},
	}
	s := newServer(t)
	f := run(t, s, func(c *agent.Config) { c.Capacity, c.SourceBytes, c.SourceEntries = 4, 1_000_000, 4 })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rec := s.giveSource(bundle(t, tt.entries...), steps(sh("true"), client.StepSpec{Sh: "true", Always: true}))
			result := s.finished(t, rec)
			if result.Outcome != "failed" || !strings.HasPrefix(result.Reason, "cannot unpack the source: ") || !strings.Contains(result.Reason, tt.want) {
				t.Errorf("got %s: %s", result.Outcome, result.Reason)
			}
			if got := states(result.Steps); got != "skipped, skipped" || rec.starts != 1 {
				t.Errorf("got %s, %d starts", got, rec.starts)
			}
			if log := text(s.logOf(t, rec, result.Log), "agent"); !strings.Contains(log, tt.want) {
				t.Errorf("the log says %q", log)
			}
			for _, path := range []string{f.cfg.WorkDir + "/evil", f.cfg.WorkDir + "/" + rec.lease.ID + "/evil", "/tmp/evil"} {
				if _, err := os.Lstat(path); err == nil {
					t.Errorf("%s was written", path)
				}
			}
		})
	}
}

func TestDamagedSource(t *testing.T) {
	t.Parallel()
	good := bundle(t, tar.Header{Name: "f", Size: 10})
	t.Run("from_the_server_is_refused", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		run(t, s)
		rec := s.giveSource(good, steps(sh("true")))
		s.locked(func() { s.sources[rec.lease.Source.Digest] = append([]byte("x"), good[1:]...) })
		result := s.finished(t, rec)
		if result.Outcome != "failed" || !strings.HasPrefix(result.Reason, "cannot fetch the source: the bytes do not have the digest") {
			t.Errorf("got %s: %s", result.Outcome, result.Reason)
		}
	})
	t.Run("in_the_cache_is_fetched_again", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		f := run(t, s)
		s.finished(t, s.giveSource(good, steps(sh("true"))))
		cached, _ := filepath.Glob(f.cfg.WorkDir + "/cache/*")
		if len(cached) != 1 {
			t.Fatalf("got %v", cached)
		}
		evil := bundle(t, tar.Header{Name: "evil", Size: 10})
		if err := os.WriteFile(cached[0], evil, 0o600); err != nil {
			t.Fatal(err)
		}
		result := s.finished(t, s.giveSource(good, steps(sh("test -e f; test ! -e evil"))))
		if got := states(result.Steps); got != "succeeded 0" {
			t.Errorf("got %s %s", got, result.Reason)
		}
	})
	t.Run("not_an_archive", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		run(t, s)
		result := s.finished(t, s.giveSource([]byte("hello"), steps(sh("true"))))
		if result.Outcome != "failed" || !strings.HasPrefix(result.Reason, "cannot unpack the source: ") {
			t.Errorf("got %s: %s", result.Outcome, result.Reason)
		}
	})
	t.Run("cut_transfers_are_repeated", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		s.fault = func(op string, n int) fault { return map[bool]fault{true: drop}[op == "source" && n < 4] }
		run(t, s)
		if got := states(s.finished(t, s.giveSource(good, steps(sh("test -e f")))).Steps); got != "succeeded 0" {
			t.Errorf("got %s", got)
		}
	})
}
