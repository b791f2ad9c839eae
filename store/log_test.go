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
	index, err := s.ReadLogIndex(t.Context(), LogPlace{Key: "logs/x", IndexAt: indexAt})
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
	if _, err := s.ReadLogIndex(t.Context(), LogPlace{Key: "logs/x", IndexAt: indexAt - 1}); err == nil {
		t.Error("an index at the wrong place was read")
	}
}

// Logs that share an object are read each by itself, and none in the place of another.
func TestLogPack(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	enc, _ := zstd.NewWriter(nil)
	logs := map[string][]string{"a": {"one\n", "two\n"}, "b": {""}, "c": {strings.Repeat("three ", 500)}}
	var object bytes.Buffer
	p := new(LogCodec).NewLogPack(&object)
	for _, log := range []string{"a", "b", "c"} {
		for i, text := range logs[log] {
			if err := p.Add(log, LogChunk{Seq: i, Bytes: len(text), Segments: []byte(`[]`)}, enc.EncodeAll([]byte(text), nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
	indexAt, size, err := p.Close()
	if err != nil || size != int64(object.Len()) {
		t.Fatalf("size %d of %d: %v", size, object.Len(), err)
	}
	if _, err := s.Put(t.Context(), "logs/p", bytes.NewReader(object.Bytes()), PutOptions{}); err != nil {
		t.Fatal(err)
	}
	dec, _ := zstd.NewReader(nil)
	frames, err := ParseLogPack(object.Bytes(), indexAt)
	if err != nil {
		t.Fatal(err)
	}
	for log, texts := range logs {
		index, err := s.ReadLogIndex(t.Context(), LogPlace{"logs/p", indexAt, log})
		if err != nil || len(index) != len(texts) || len(frames[log]) != len(texts) {
			t.Fatalf("log %s has %d chunks, %d frames: %v", log, len(index), len(frames[log]), err)
		}
		for i, c := range index {
			frame, err := s.ReadLogFrame(t.Context(), "logs/p", c)
			if err != nil || !bytes.Equal(frame, frames[log][i]) {
				t.Fatalf("frame %d of log %s: %v", i, log, err)
			}
			if got, err := dec.DecodeAll(frame, nil); err != nil || string(got) != texts[i] || c.Seq != i {
				t.Errorf("chunk %d of log %s: %q, %v", i, log, got, err)
			}
		}
	}
	if _, err := s.ReadLogIndex(t.Context(), LogPlace{"logs/p", indexAt, "d"}); err == nil {
		t.Error("a log was read that is not there")
	}
	for _, at := range []int64{-1, indexAt - 1, size + 1} {
		if _, err := ParseLogPack(object.Bytes(), at); err == nil {
			t.Errorf("an index at %d was read", at)
		}
	}
}
