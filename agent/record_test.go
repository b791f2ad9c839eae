package agent_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ottoci/otto/client"
)

// give queues a task and returns its record, whose fields are read under the lock, or with wait.
func (s *server) give(spec client.TaskSpec) *record {
	return s.giveLease(client.Lease{Spec: spec})
}

func (s *server) giveLease(lease client.Lease) *record {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.records) + 1
	lease.ID = fmt.Sprintf("00000000-0000-4000-8000-%012d", n)
	lease.Epoch, lease.Task, lease.Run, lease.RunID = 1, int64(40+n), 812, "6f1e2c52-2f57-4c02-8a49-6c7b1a0f0c11"
	lease.Project, lease.Stage = "web", "build"
	if lease.Spec.Name == "" {
		lease.Spec.Name = "unit"
	}
	for i := range lease.Spec.Steps {
		if lease.Spec.Steps[i].ExitCodes == nil {
			lease.Spec.Steps[i].ExitCodes = map[string]string{"0": "succeeded", "1": "failed", "2": "aborted", "3": "unstable"}
		}
	}
	rec := &record{lease: lease}
	s.records[lease.ID] = rec
	s.queue = append(s.queue, rec)
	s.notify()
	return rec
}

// patience is the deadline of all waiting in tests: long, since it only runs out when something is broken.
const patience = 60 * time.Second

// wait waits until a condition on the server's state holds.
func (s *server) wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		ok, changed := holds(), s.changed
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// finished waits for the result of a lease and for all of its log.
func (s *server) finished(t *testing.T, rec *record) client.LeaseFinish {
	t.Helper()
	s.wait(t, "result and log of "+rec.lease.Spec.Name, func() bool {
		return rec.finish != nil && len(rec.chunks) >= rec.finish.Log.Chunks
	})
	return *rec.finish
}

// logOf puts a log together and checks it against what the agent says it comes to.
func (s *server) logOf(t *testing.T, rec *record, total client.LogTotal) []piece {
	t.Helper()
	s.wait(t, "log", func() bool { return len(rec.chunks) >= total.Chunks })
	s.mu.Lock()
	chunks := slices.Clone(rec.chunks)
	s.mu.Unlock()
	unzip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer unzip.Close()
	var out []piece
	var size int64
	sum := sha256.New()
	for i, chunk := range chunks {
		raw := chunk.Data
		if chunk.Encoding == "zstd" {
			if raw, err = unzip.DecodeAll(chunk.Data, nil); err != nil {
				t.Fatal(err)
			}
		}
		if chunk.Seq != i || len(raw) != chunk.Bytes || chunk.Epoch != rec.lease.Epoch {
			t.Fatalf("chunk %d: seq %d, epoch %d, %d bytes instead of %d", i, chunk.Seq, chunk.Epoch, len(raw), chunk.Bytes)
		}
		sum.Write(raw)
		size += int64(len(raw))
		for _, segment := range chunk.Segments {
			out = append(out, piece{segment, raw[:segment.Bytes]})
			raw = raw[segment.Bytes:]
		}
		if len(raw) != 0 {
			t.Fatalf("chunk %d: %d bytes are in no segment", i, len(raw))
		}
	}
	if got := (client.LogTotal{Chunks: len(chunks), Bytes: size, SHA256: hex.EncodeToString(sum.Sum(nil))}); got != total {
		t.Fatalf("the log comes to %+v, not to %+v", got, total)
	}
	return out
}

// piece is a segment with its bytes.
type piece struct {
	client.Segment
	text []byte
}

// text joins the bytes of one kind.
func text(log []piece, kind string) string {
	var out bytes.Buffer
	for _, p := range log {
		if p.Kind == kind {
			out.Write(p.text)
		}
	}
	return out.String()
}
