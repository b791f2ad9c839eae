package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

// codec packs and unpacks log chunks. Both sides may be used by many goroutines at once.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
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
	return &codec{enc, dec}, nil
}

func (c *codec) pack(raw []byte) []byte { return c.enc.EncodeAll(raw, nil) }

func (c *codec) unpack(frame []byte) ([]byte, error) { return c.dec.DecodeAll(frame, nil) }

// leaseLog checks a chunk and stores it as one zstd frame.
func (a *API) leaseLog(ctx context.Context, in *struct {
	LeaseRef
	Body client.LogChunk
}) (*output[client.LogAck], error) {
	lease, err := in.id()
	if err != nil {
		return nil, err
	}
	raw, frame, err := a.codec.open(in.Body)
	if err != nil {
		return nil, err
	}
	if err := checkSegments(in.Body.Segments, len(raw)); err != nil {
		return nil, err
	}
	segments, err := json.Marshal(append([]client.Segment{}, in.Body.Segments...))
	if err != nil {
		return nil, err
	}
	next, err := a.agents.LogAppend(ctx, db.LogAppendParams{
		Lease: lease, Epoch: narrow(in.Body.Epoch), Agent: caller(ctx).agent, Seq: narrow(in.Body.Seq),
		Bytes: int32(len(raw)), Lines: int32(bytes.Count(raw, []byte{'\n'})), Segments: segments, Data: frame,
	})
	if err != nil {
		return nil, err
	}
	a.wake.Wake(db.TopicLog)
	return &output[client.LogAck]{client.LogAck{Next: int(next)}}, nil
}

// open gives a chunk's raw bytes and the frame to store. The frame of the agent is stored as it is, so that a repeat of
// the chunk is equal to it.
func (c *codec) open(in client.LogChunk) (raw, frame []byte, err error) {
	tooLarge := newProblem(codeTooLarge, "a log chunk has at most %d bytes", maxChunkBytes)
	switch {
	case in.Bytes > maxChunkBytes:
		return nil, nil, tooLarge
	case in.Encoding == "identity":
		raw, frame = in.Data, c.pack(in.Data)
	default:
		if raw, err = c.unpack(in.Data); err != nil {
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

// checkSegments proves that the segments cover the bytes, no more and no less.
func checkSegments(segments []client.Segment, size int) error {
	sum := 0
	for i, s := range segments {
		marker := s.Kind == client.SegmentBegin || s.Kind == client.SegmentEnd
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
