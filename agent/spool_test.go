package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ottoci/otto/client"
)

func testSpool(t *testing.T, limit int64) *spool {
	t.Helper()
	s := newSpool(filepath.Join(t.TempDir(), "spool"), limit)
	t.Cleanup(func() {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// put appends chunks of a packed size that stand for so many raw bytes.
func (s *spool) put(t *testing.T, count, packed, raw int) {
	t.Helper()
	for range count {
		chunk := client.LogChunk{Seq: s.first + len(s.waiting), Encoding: "zstd", Bytes: raw, Data: make([]byte, packed)}
		frame, err := chunk.Frame()
		if err == nil {
			err = s.append(frame, raw)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// sends gives how many chunks go in each request when all are taken at once.
func (s *spool) sends(t *testing.T) (counts []int) {
	t.Helper()
	s.seal()
	for seq := 0; ; {
		b, err := s.next(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if b.frames == nil {
			return counts
		}
		chunks, err := client.ReadLogFrames(b.frames)
		if err != nil || b.seq != seq || chunks[0].Seq != seq {
			t.Fatalf("a request begins with %d, want %d: %v", b.seq, seq, err)
		}
		counts = append(counts, len(chunks))
		seq += len(chunks)
		if err := s.acknowledge(seq); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSpoolFillsRequests(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		count, packed, raw int
		want               []int
	}{
		"small_ones":      {40, 10, 100, []int{16, 16, 8}},
		"well_compressed": {6, 1000, 1 << 20, []int{4, 2}},
		"not_compressed":  {3, 1 << 20, 1 << 20, []int{1, 1, 1}},
		"marks_only":      {3, 0, 0, []int{3}},
		"none":            {0, 0, 0, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testSpool(t, 1<<30)
			s.put(t, tt.count, tt.packed, tt.raw)
			got := s.sends(t)
			if len(got) != len(tt.want) {
				t.Fatalf("requests have %v chunks, want %v", got, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Errorf("requests have %v chunks, want %v", got, tt.want)
				}
			}
		})
	}
}

// A server may want a chunk in the middle of what it was sent, but none that it has had.
func TestSpoolGoesWhereTheServerWants(t *testing.T) {
	t.Parallel()
	s := testSpool(t, 1<<30)
	s.put(t, 10, 10, 10)
	for _, next := range []int{0, 3, 3, 7} {
		if err := s.acknowledge(next); err != nil {
			t.Fatal(err)
		}
		if b, err := s.next(t.Context(), next); err != nil || b.seq != next {
			t.Errorf("sends %d, want %d: %v", b.seq, next, err)
		}
	}
	if err := s.acknowledge(2); !errors.Is(err, errSpoolLost) {
		t.Errorf("went back: %v", err)
	}
}

// waits says whether a step has to wait.
func (s *spool) waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	full, _, _ := s.full()
	return full
}

func TestSpoolHoldsStepsBack(t *testing.T) {
	t.Parallel()
	const chunk = 1 << 20
	s := testSpool(t, 100_000)
	expect := func(when string, want bool) {
		t.Helper()
		if got := s.waits(); got != want {
			t.Errorf("%s: a step waits: %t, want %t", when, got, want)
		}
	}
	s.put(t, promptRaw/chunk-1, 100, chunk)
	expect("with little", false)
	s.put(t, 1, 100, chunk)
	expect("with as much as may wait", true)
	s.lost()
	expect("once the server does not answer", false)
	s.put(t, 92, 100, chunk)
	expect("with much on disk meanwhile", false)
	if err := s.acknowledge(20); err != nil {
		t.Fatal(err)
	}
	expect("when the server is back and has taken 20", false)
	s.put(t, 10, 100, chunk)
	expect("with half as many added", true)
	s.mu.Lock()
	s.heard = time.Now().Add(-promptPatience)
	s.mu.Unlock()
	expect("with a server that has fallen silent", false)
	s.put(t, 600, 100, chunk)
	expect("with a full disk", true)
	if err := s.acknowledge(s.first + len(s.waiting)); err != nil {
		t.Fatal(err)
	}
	expect("with nothing left", false)
}

// A step that waits goes on as soon as there is room, the server is lost, or nobody wants the log any more.
func TestSpoolWakesSteps(t *testing.T) {
	t.Parallel()
	for name, wake := range map[string]func(*spool) error{
		"room": func(s *spool) error { return s.acknowledge(9) },
		"lost": func(s *spool) error { s.lost(); return nil },
		"drop": func(s *spool) error { return s.drop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testSpool(t, 1<<30)
			s.put(t, 9, 10, 1<<20)
			s.mu.Lock()
			s.heard = time.Now().Add(time.Hour) // so that patience cannot end the wait
			s.mu.Unlock()
			waited := make(chan struct{})
			go func() {
				s.waitRoom(context.WithoutCancel(t.Context()))
				close(waited)
			}()
			if err := wake(s); err != nil {
				t.Fatal(err)
			}
			<-waited
		})
	}
}

// A short log never touches the disk. A longer one moves there whole, and what was in memory comes back first.
func TestSpoolMovesToDisk(t *testing.T) {
	t.Parallel()
	s := testSpool(t, 1<<30)
	s.put(t, 2, 1000, 5000)
	if _, err := os.Stat(s.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a short log has a file: %v", err)
	}
	if b, err := s.next(t.Context(), 0); err != nil || b.seq != 0 {
		t.Fatal(b.seq, err)
	}
	if err := s.acknowledge(1); err != nil {
		t.Fatal(err)
	}
	s.put(t, 4, memorySpool/2, 100_000)
	if info, err := os.Stat(s.path); err != nil || info.Size() < memorySpool {
		t.Errorf("a long log has no file: %v", err)
	}
	var seqs []int
	for seq := 1; seq < 6; {
		b, err := s.next(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		chunks, err := client.ReadLogFrames(b.frames)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range chunks {
			seqs = append(seqs, c.Seq)
		}
		seq = b.seq + len(chunks)
		if err := s.acknowledge(seq); err != nil {
			t.Fatal(err)
		}
	}
	if want := []int{1, 2, 3, 4, 5}; !slices.Equal(seqs, want) {
		t.Errorf("got chunks %v, want %v", seqs, want)
	}
}
