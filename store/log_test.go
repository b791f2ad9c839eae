package store

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// A stored log is read by any zstd reader as a whole, and by ours in parts.
func TestLogObject(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	enc, _ := zstd.NewWriter(nil)
	texts := []string{"one\n", strings.Repeat("two ", 1000) + "\n", "three"}
	var object bytes.Buffer
	o := new(LogCodec).NewLogObject(&object)
	for i, text := range texts {
		if err := o.Add(LogChunk{Seq: i, Bytes: len(text), Segments: []byte(`[{"step":0}]`)}, enc.EncodeAll([]byte(text), nil)); err != nil {
			t.Fatal(err)
		}
	}
	indexAt, size, err := o.Close()
	if err != nil || size != int64(object.Len()) {
		t.Fatalf("size %d of %d: %v", size, object.Len(), err)
	}
	if _, err := s.Put(t.Context(), "logs/x", bytes.NewReader(object.Bytes()), PutOptions{}); err != nil {
		t.Fatal(err)
	}

	whole, _ := zstd.NewReader(&object)
	if got, err := io.ReadAll(whole); err != nil || string(got) != strings.Join(texts, "") {
		t.Errorf("read as a whole: %d bytes, %v", len(got), err)
	}
	index, err := s.ReadLogIndex(t.Context(), "logs/x", indexAt)
	if err != nil || len(index) != len(texts) {
		t.Fatalf("index has %d chunks: %v", len(index), err)
	}
	dec, _ := zstd.NewReader(nil)
	for i, c := range index {
		frame, err := s.ReadLogFrame(t.Context(), "logs/x", c)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := dec.DecodeAll(frame, nil); err != nil || string(got) != texts[i] || c.Seq != i {
			t.Errorf("chunk %d: %q, %v", i, got, err)
		}
	}
	if _, err := s.ReadLogIndex(t.Context(), "logs/x", indexAt-1); err == nil {
		t.Error("an index at the wrong place was read")
	}
}
