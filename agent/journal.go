package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ottoci/otto/client"
)

const (
	// flushAfter is how long the first byte of a chunk waits for company: what a person watching does not notice.
	flushAfter = 100 * time.Millisecond
	// mergeWithin is how far apart in time two pieces of the same output may be and still become one segment.
	mergeWithin = 250 * time.Millisecond
)

// journal is the log of one task. It cuts what is written to it into chunks and puts them into the spool. In memory are
// only the chunk being filled, and those before that are packed meanwhile, each on a processor of its own: packing is the slowest
// part of a log's way, and a step need not wait for it.
type journal struct {
	began  time.Time
	limit  int   // raw bytes of a chunk
	most   int64 // raw bytes of output in the whole log
	spool  *spool
	zip    *zstd.Encoder
	epoch  int
	broken func(error) // told once that the spool cannot be written; the journal then swallows everything

	mu       sync.Mutex
	bytes    []byte
	seq      int // of the chunk being filled
	segments []client.Segment
	timer    *time.Timer
	room     int64 // raw bytes of output that the log still takes
	toldCut  bool
	sealed   bool

	free   chan []byte   // buffers for the chunks that may be packed at the same time
	stored chan struct{} // closed when the chunk before is in the spool, or never will be; only then may one touch
	total  client.LogTotal
	sum    hash.Hash
	err    error // that broke the spool
}

// packers is how many chunks of a log are packed at the same time, where there are as many processors.
const packers = 4

func newJournal(s *spool, zip *zstd.Encoder, limit int, most int64) *journal {
	j := &journal{began: time.Now(), limit: limit, most: most, room: most, spool: s, zip: zip, sum: sha256.New(), broken: func(error) {}}
	j.stored = make(chan struct{})
	close(j.stored)
	j.free = make(chan []byte, packers)
	for range min(packers, runtime.GOMAXPROCS(0)) {
		j.free <- nil // it grows with its first chunk
	}
	return j
}

// restart makes now the moment from which segments count their time.
func (j *journal) restart() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.began = time.Now()
}

// write adds output of a step. It first waits for room in the spool, for as long as ctx lives: that is how a step that
// writes faster than the server reads is slowed down. Once ctx has ended only the rest of a pipe can come, which fits.
func (j *journal) write(ctx context.Context, kind string, step int, p []byte) {
	j.spool.waitRoom(ctx)
	kept := j.ration(len(p))
	j.add(kind, step, p[:kept])
	if kept < len(p) {
		j.sayCut(step)
	}
}

// ration says how many of n bytes of output the log still takes.
func (j *journal) ration(n int) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	kept := int(min(int64(n), j.room))
	j.room -= int64(kept)
	return kept
}

// sayCut marks the place where the log ends, though the step goes on; once.
func (j *journal) sayCut(step int) {
	j.mu.Lock()
	told := j.toldCut
	j.toldCut = true
	j.mu.Unlock()
	if !told {
		j.say(step, "the log is cut here: a task's log has at most %d bytes; the step goes on", j.most)
	}
}

func (j *journal) add(kind string, step int, p []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(p) > 0 {
		n := min(len(p), j.limit-len(j.bytes))
		j.bytes = append(j.bytes, p[:n]...)
		j.extend(client.Segment{Step: step, Kind: kind, AtMS: j.now(), Bytes: n})
		p = p[n:]
		if len(j.bytes) == j.limit {
			j.cut()
		}
	}
	j.flushLater()
}

// mark adds a segment without bytes: a step's begin or end.
func (j *journal) mark(segment client.Segment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	segment.AtMS = j.now()
	j.segments = append(j.segments, segment)
	j.flushLater()
}

// say adds a line by the agent itself. It is short and does not wait for room.
func (j *journal) say(step int, format string, args ...any) {
	line := strings.ToValidUTF8(fmt.Sprintf("otto: "+format, args...), "\uFFFD")
	j.add(client.SegmentAgent, step, []byte(line+"\n"))
}

// seal cuts the last chunk and says what the whole log comes to, and whether something is missing in it. Nothing may be
// written after it.
func (j *journal) seal() (client.LogTotal, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.sealed {
		j.cut()
		<-j.stored
		j.sealed = true
		j.total.SHA256 = hex.EncodeToString(j.sum.Sum(nil))
		j.spool.seal()
	}
	return j.total, j.err
}

func (j *journal) now() int64 { return time.Since(j.began).Milliseconds() }

// extend adds a segment, or makes the last one longer if this one only continues it.
func (j *journal) extend(next client.Segment) {
	if n := len(j.segments); n > 0 {
		last := &j.segments[n-1]
		if last.Kind == next.Kind && last.Step == next.Step && next.AtMS-last.AtMS < mergeWithin.Milliseconds() {
			last.Bytes += next.Bytes
			return
		}
	}
	j.segments = append(j.segments, next)
}

func (j *journal) flushLater() {
	if j.timer == nil && len(j.segments) > 0 {
		j.timer = time.AfterFunc(flushAfter, j.flush)
	}
}

func (j *journal) flush() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cut()
}

// cut has the pending chunk, if there is one, packed and put into the spool, behind the one before. It waits while as many as may
// be are being packed.
func (j *journal) cut() {
	if j.timer != nil {
		j.timer.Stop()
		j.timer = nil
	}
	if len(j.segments) == 0 {
		return
	}
	raw, segments, seq, before, stored := j.bytes, j.segments, j.seq, j.stored, make(chan struct{})
	j.bytes, j.segments, j.seq, j.stored = <-j.free, nil, j.seq+1, stored
	go func() {
		frame, err := j.chunk(seq, raw, segments).Frame()
		<-before
		j.store(frame, raw, err)
		close(stored)
		j.free <- raw[:0]
	}()
}

// store puts a chunk into the spool. A log with a hole is worth nothing: the first failure is the last try.
func (j *journal) store(frame, raw []byte, err error) {
	if j.err != nil {
		return
	}
	if err == nil {
		err = j.spool.append(frame, len(raw))
	}
	if err != nil {
		j.err = fmt.Errorf("cannot spool the log: %w", err)
		j.broken(j.err)
		return
	}
	j.sum.Write(raw)
	j.total.Bytes += int64(len(raw))
	j.total.Chunks++
}

// chunk is what goes over the wire: a zstd frame, unless that is longer than the bytes as they are.
func (j *journal) chunk(seq int, raw []byte, segments []client.Segment) client.LogChunk {
	c := client.LogChunk{
		Epoch:    j.epoch,
		Seq:      seq,
		Encoding: "zstd",
		Bytes:    len(raw),
		Segments: segments,
		Data:     j.zip.EncodeAll(raw, nil),
	}
	if len(c.Data) >= len(raw) {
		c.Encoding, c.Data = "identity", raw
	}
	return c
}

// noLog is the total of a log without chunks.
func noLog() client.LogTotal {
	return client.LogTotal{SHA256: hex.EncodeToString(sha256.New().Sum(nil))}
}
