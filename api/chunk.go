package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

// codec packs and unpacks log chunks. Both sides may be used by many goroutines at once.
type codec struct {
	enc     *zstd.Encoder
	dec     *zstd.Decoder
	buffers sync.Pool // of *[]byte with room for a chunk, for bytes that are only looked at
}

func newCodec() (*codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, fmt.Errorf("prepare compression: %w", err)
	}
	// The bound holds whatever size a frame claims: unpacking stops at it.
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxChunkBytes))
	if err != nil {
		return nil, fmt.Errorf("prepare compression: %w", err)
	}
	room := func() any { b := make([]byte, 0, maxChunkBytes); return &b }
	return &codec{enc: enc, dec: dec, buffers: sync.Pool{New: room}}, nil
}

func (c *codec) pack(raw []byte) []byte { return c.enc.EncodeAll(raw, nil) }

// unpack appends what is in a frame to into, which may be nil.
func (c *codec) unpack(frame, into []byte) ([]byte, error) { return c.dec.DecodeAll(frame, into) }

// leaseLog checks a chunk and stores it as one zstd frame.
func (a *API) leaseLog(ctx context.Context, in *struct {
	LeaseRef
	Body client.LogChunk
}) (*output[client.LogAck], error) {
	lease, err := in.id()
	if err != nil {
		return nil, err
	}
	return a.storeChunks(ctx, lease, []client.LogChunk{in.Body})
}

// leaseLogFrames checks chunks that follow each other, and stores them in one transaction.
func (a *API) leaseLogFrames(ctx context.Context, in *struct {
	LeaseRef
	ContentType string `header:"Content-Type"`
}) (*output[client.LogAck], error) {
	lease, err := in.id()
	if err != nil {
		return nil, err
	}
	if in.ContentType != client.TypeLogFrames {
		return nil, newProblem(codeMediaType, "body unknown content type: %s", in.ContentType)
	}
	chunks, err := client.ReadLogFrames(requestOf(ctx).body)
	switch {
	case err != nil:
		return nil, newProblem(codeInvalid, "the body is not a row of log frames: %v", err)
	case len(chunks) == 0:
		return nil, newProblem(codeInvalid, "the body has no chunk")
	}
	return a.storeChunks(ctx, lease, chunks)
}

func (a *API) storeChunks(ctx context.Context, lease uuid.UUID, chunks []client.LogChunk) (*output[client.LogAck], error) {
	rows := make([]db.LogAppendAllParams, len(chunks))
	for i, chunk := range chunks {
		row, err := a.codec.check(chunk)
		if err != nil {
			return nil, err
		}
		row.Lease, row.Agent = lease, caller(ctx).agent
		rows[i] = row
	}
	next, err := a.appendLog(ctx, rows)
	if err != nil {
		return nil, err
	}
	a.wake.Wake(db.TopicLog)
	return &output[client.LogAck]{client.LogAck{Next: next}}, nil
}

// appendLog stores chunks in one transaction; the last one's answer says what is wanted next.
func (a *API) appendLog(ctx context.Context, rows []db.LogAppendAllParams) (next int, err error) {
	stored := a.agents.LogAppendAll(ctx, rows)
	stored.QueryRow(func(_ int, wanted int32, failed error) {
		next = int(wanted)
		if err == nil {
			err = failed // those behind the first only tell of it
		}
	})
	return next, err
}

// check proves that a chunk is what it says, and gives the row that is stored.
func (c *codec) check(in client.LogChunk) (row db.LogAppendAllParams, err error) {
	buffer := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(buffer)
	raw, frame, err := c.open(in, (*buffer)[:0])
	if err != nil {
		return row, err
	}
	if err := checkSegments(in.Segments, len(raw)); err != nil {
		return row, err
	}
	segments, err := json.Marshal(append([]client.Segment{}, in.Segments...))
	if err != nil {
		return row, err
	}
	return db.LogAppendAllParams{
		Epoch: narrow(in.Epoch), Seq: narrow(in.Seq), Bytes: int32(len(raw)), Lines: int32(bytes.Count(raw, []byte{'\n'})),
		Segments: segments, Data: frame,
	}, nil
}

// open gives a chunk's raw bytes and the frame to store. The frame of the agent is stored as it is, so that a repeat of
// the chunk is equal to it. The raw bytes are the chunk's own, or in the buffer.
func (c *codec) open(in client.LogChunk, buffer []byte) (raw, frame []byte, err error) {
	tooLarge := newProblem(codeTooLarge, "a log chunk has at most %d bytes", maxChunkBytes)
	switch {
	case in.Bytes > maxChunkBytes:
		return nil, nil, tooLarge
	case in.Seq < 0:
		return nil, nil, newProblem(codeInvalid, "a chunk's number cannot be %d", in.Seq)
	case in.Encoding == "identity":
		raw, frame = in.Data, c.pack(in.Data)
	case in.Encoding != "zstd":
		return nil, nil, newProblem(codeInvalid, "chunk %d has the encoding %q: identity and zstd are known", in.Seq, in.Encoding)
	default:
		if raw, err = c.unpack(in.Data, buffer); err != nil {
			if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
				return nil, nil, tooLarge
			}
			return nil, nil, newProblem(codeInvalid, "the data of chunk %d is not zstd", in.Seq)
		}
		frame = in.Data
	}
	if len(raw) != in.Bytes {
		return nil, nil, newProblem(codeInvalid, "chunk %d has %d bytes, it says %d", in.Seq, len(raw), in.Bytes)
	}
	return raw, frame, nil
}

// outputKinds are the kinds of segments with bytes.
var outputKinds = []string{client.SegmentStdout, client.SegmentStderr, client.SegmentAgent}

// longestState bounds the name of a state, in bytes.
const longestState = 100

// checkSegments proves that the segments cover the bytes, no more and no less.
func checkSegments(segments []client.Segment, size int) error {
	sum := 0
	for i, s := range segments {
		marker := s.Kind == client.SegmentBegin || s.Kind == client.SegmentEnd
		if !marker && !slices.Contains(outputKinds, s.Kind) || len(s.State) > longestState || strings.ContainsRune(s.State, 0) {
			return newProblem(codeInvalid, "segment %d cannot be of kind %q and state %q", i, s.Kind, s.State)
		}
		if s.Bytes < 0 || s.Bytes > size || s.Step < -1 || (marker && s.Bytes != 0) {
			return newProblem(codeInvalid, "segment %d (%s) of step %d cannot have %d bytes", i, s.Kind, s.Step, s.Bytes)
		}
		sum += s.Bytes
	}
	if sum != size {
		return newProblem(codeInvalid, "the segments have %d bytes, the chunk has %d", sum, size)
	}
	return nil
}
