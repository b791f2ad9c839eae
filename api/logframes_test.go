package api

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ottoci/otto/client"
)

// frames are the chunks from one number to another, each with a line that says its number.
func (l *logged) frames(from, to int) []byte {
	l.t.Helper()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	var body []byte
	for seq := from; seq < to; seq++ {
		raw := lineOf(seq)
		frame, err := client.LogChunk{Epoch: l.lease.Epoch, Seq: seq, Encoding: "zstd", Bytes: len(raw),
			Segments: []client.Segment{{Kind: client.SegmentStdout, Bytes: len(raw)}}, Data: enc.EncodeAll([]byte(raw), nil)}.Frame()
		if err != nil {
			l.t.Fatal(err)
		}
		body = append(body, frame...)
	}
	return body
}

func lineOf(seq int) string { return fmt.Sprintf("line %d, %s\n", seq, strings.Repeat("x", seq%50)) }

func linesOf(count int) string {
	var b strings.Builder
	for seq := range count {
		b.WriteString(lineOf(seq))
	}
	return b.String()
}

func (l *logged) send(frames []byte) (int, error) {
	ack, err := l.agent.LeaseLogFrames(l.t.Context(), l.lease.ID, frames)
	return ack.Next, err
}

func TestLogFrames(t *testing.T) {
	t.Parallel()
	l := startLogged(t)
	for _, c := range []struct {
		name           string
		from, to, next int
	}{
		{"the_first", 0, 5, 5},
		{"repeated", 0, 5, 5},
		{"some_repeated", 3, 9, 9},
		{"too_early", 12, 14, 9},
		{"some_repeated_long_ago", 1, 3, 9},
		{"one_alone", 9, 10, 10},
	} {
		if next, err := l.send(l.frames(c.from, c.to)); next != c.next || err != nil {
			t.Errorf("%s: wants %d next, %v; want %d", c.name, next, err, c.next)
		}
	}
	l.seq, l.whole = 10, []byte(linesOf(10))
	l.end()
	if r := l.do("reader", "GET", l.path(""), nil); !bytes.Equal(r.body, l.whole) {
		t.Errorf("%q, want %q", r.body, l.whole)
	}
}

// One chunk that is wrong, and none of its request is stored.
func TestLogFramesAreAllOrNone(t *testing.T) {
	t.Parallel()
	l := startLogged(t)
	good := l.frames(0, 2)
	frame := func(c client.LogChunk) []byte {
		c.Epoch, c.Seq = l.lease.Epoch, max(c.Seq, 2)
		f, err := c.Frame()
		if err != nil {
			t.Fatal(err)
		}
		return append(bytes.Clone(good), f...)
	}
	x := []client.Segment{{Kind: "stdout", Bytes: 1}}
	for name, body := range map[string][]byte{
		"nothing":             {},
		"cut_in_a_length":     append(bytes.Clone(good), 0, 0),
		"cut_in_a_head":       append(bytes.Clone(good), 0, 0, 0, 9, '{'),
		"cut_in_data":         good[:len(good)-1],
		"a_head_without_end":  append(bytes.Clone(good), 255, 255, 255, 255, '{', '}'),
		"a_head_of_no_object": append(bytes.Clone(good), 0, 0, 0, 1, '7'),
		"negative_size":       append(bytes.Clone(good), "\x00\x00\x00\x0b{\"size\":-1}"...),
		"too_many":            l.frames(0, client.LogFramesMost+1),
		"not_zstd":            frame(client.LogChunk{Encoding: "zstd", Bytes: 1, Segments: x, Data: []byte("x")}),
		"other_encoding":      frame(client.LogChunk{Encoding: "gzip", Bytes: 1, Segments: x, Data: []byte("x")}),
		"other_size":          frame(client.LogChunk{Encoding: "identity", Bytes: 2, Segments: x, Data: []byte("x")}),
		"no_segments":         frame(client.LogChunk{Encoding: "identity", Bytes: 1, Data: []byte("x")}),
		"other_kind":          frame(client.LogChunk{Encoding: "identity", Bytes: 1, Segments: []client.Segment{{Kind: "x", Bytes: 1}}, Data: []byte("x")}),
		"state_with_nul":      frame(client.LogChunk{Encoding: "identity", Segments: []client.Segment{{Kind: "end", State: "\x00"}}}),
	} {
		if _, err := l.send(body); !client.IsStatus(err, 422) && !client.IsStatus(err, 400) {
			t.Errorf("%s: %v", name, err)
		}
	}
	large := frame(client.LogChunk{Encoding: "identity", Bytes: maxChunkBytes + 1, Segments: x, Data: make([]byte, maxChunkBytes+1)})
	if _, err := l.send(large); !client.IsStatus(err, 413) {
		t.Errorf("a chunk that is too large: %v", err)
	}
	refused(t, l.do("reader", "POST", "/v1/leases/"+l.lease.ID+"/log/frames", nil), 403, "forbidden")
	l.lease.Epoch++
	if _, err := l.send(l.frames(0, 2)); !client.IsStatus(err, 409) {
		t.Errorf("another attempt's: %v", err)
	}
	l.lease.Epoch--
	if next, err := l.send(l.frames(1, 2)); next != 0 || err != nil {
		t.Errorf("something was stored: chunk %d is wanted, %v", next, err)
	}
}

// Eight senders send the same log in pieces of their own, in any order and again and again: each chunk is stored
// once.
func TestLogFramesOfManySenders(t *testing.T) {
	t.Parallel()
	l := startLogged(t)
	const count = 120
	var senders sync.WaitGroup
	for sender := range 8 {
		random := rand.New(rand.NewPCG(1, uint64(sender)))
		senders.Go(func() {
			for next := 0; next < count; {
				from := max(0, min(next+random.IntN(5)-2, count-1))
				got, err := l.send(l.frames(from, min(from+1+random.IntN(6), count)))
				if err != nil || got < next {
					t.Errorf("chunk %d is wanted after %d: %v", got, next, err)
					return
				}
				next = got
			}
		})
	}
	senders.Wait()
	l.seq, l.whole = count, []byte(linesOf(count))
	l.end()
	if r := l.do("reader", "GET", l.path(""), nil); !bytes.Equal(r.body, l.whole) {
		t.Errorf("%d bytes differ from the %d sent", len(r.body), len(l.whole))
	}
}
