package api

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ottoci/otto/client"
)

func TestChunksAreChecked(t *testing.T) {
	t.Parallel()
	l := startLogged(t)
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := enc.EncodeAll(make([]byte, 64<<20), nil)
	out := func(n int) []client.Segment { return []client.Segment{{Kind: "stdout", Bytes: n}} }
	for name, tt := range map[string]struct {
		chunk  client.LogChunk
		status int
	}{
		"segments_too_short": {client.LogChunk{Encoding: "identity", Bytes: 2, Data: []byte("ab"), Segments: out(1)}, 422},
		"segments_too_long":  {client.LogChunk{Encoding: "identity", Bytes: 2, Data: []byte("ab"), Segments: out(3)}, 422},
		"negative_segment": {client.LogChunk{Encoding: "identity", Bytes: 2, Data: []byte("ab"),
			Segments: []client.Segment{{Kind: "stdout", Bytes: 3}, {Kind: "stdout", Bytes: -1}}}, 422},
		"marker_with_bytes": {client.LogChunk{Encoding: "identity", Bytes: 1, Data: []byte("a"), Segments: []client.Segment{{Kind: "end", Bytes: 1}}}, 422},
		"unknown_kind":      {client.LogChunk{Encoding: "identity", Bytes: 1, Data: []byte("a"), Segments: []client.Segment{{Kind: "stdin", Bytes: 1}}}, 422},
		"unknown_encoding":  {client.LogChunk{Encoding: "gzip", Bytes: 0, Segments: out(0)}, 422},
		"wrong_size":        {client.LogChunk{Encoding: "zstd", Bytes: 3, Data: enc.EncodeAll([]byte("ab"), nil), Segments: out(3)}, 422},
		"not_zstd":          {client.LogChunk{Encoding: "zstd", Bytes: 2, Data: []byte("ab"), Segments: out(2)}, 422},
		"says_too_large":    {client.LogChunk{Encoding: "identity", Bytes: maxChunkBytes + 1, Segments: out(maxChunkBytes + 1)}, 413},
		"is_too_large":      {client.LogChunk{Encoding: "zstd", Bytes: maxChunkBytes, Data: bomb, Segments: out(maxChunkBytes)}, 413},
		"claims_less":       {client.LogChunk{Encoding: "zstd", Bytes: 5, Data: bomb, Segments: out(5)}, 413},
	} {
		tt.chunk.Epoch = l.lease.Epoch
		if _, err := l.agent.LeaseLog(t.Context(), l.lease.ID, tt.chunk); !client.IsStatus(err, tt.status) {
			t.Errorf("%s: got %v, want %d", name, err, tt.status)
		}
	}
	noise := make([]byte, maxChunkBytes)
	for i := range noise {
		noise[i] = byte(rand.IntN(256))
	}
	largest := client.LogChunk{Epoch: l.lease.Epoch, Encoding: "zstd", Bytes: len(noise), Data: enc.EncodeAll(noise, nil), Segments: out(len(noise))}
	for range 2 { // a repeat changes nothing
		if ack, err := l.agent.LeaseLog(t.Context(), l.lease.ID, largest); err != nil || ack.Next != 1 {
			t.Fatal(ack, err)
		}
	}
	if r := l.do("reader", "GET", l.path(""), nil); !bytes.Equal(r.body, noise) {
		t.Errorf("the largest chunk was read back with %d bytes", len(r.body))
	}
	early := client.LogChunk{Epoch: l.lease.Epoch, Seq: 5, Encoding: "identity", Bytes: 1, Data: []byte("x"), Segments: out(1)}
	if ack, err := l.agent.LeaseLog(t.Context(), l.lease.ID, early); err != nil || ack.Next != 1 {
		t.Errorf("a chunk that comes too early: %+v %v", ack, err)
	}
}
