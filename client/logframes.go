package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// TypeLogFrames is the media type of many log chunks in one body: one frame after the other. A frame is the length of its
// head in four bytes, the most significant first; the head, a LogFrame as JSON; and the data as they are. So the bulk of a
// log is neither quoted nor copied on its way.
const TypeLogFrames = "application/vnd.otto.log-frames"

// LogFramesMost is how many chunks a request may have: it bounds what a small body can unpack to.
const LogFramesMost = 16

// LogFrame is the head of a chunk in a body of many.
type LogFrame struct {
	Epoch    int       `json:"epoch"`
	Seq      int       `json:"seq" minimum:"0"`
	Encoding string    `json:"encoding" enum:"identity,zstd"`
	Bytes    int       `json:"bytes" minimum:"0" doc:"Raw size."`
	Segments []Segment `json:"segments" doc:"What the raw bytes are, in order; their sizes add up to bytes."`
	Size     int       `json:"size" minimum:"0" doc:"Bytes of data that follow the head."`
}

// Frame is the chunk as a frame.
func (c LogChunk) Frame() ([]byte, error) {
	head, err := json.Marshal(LogFrame{Epoch: c.Epoch, Seq: c.Seq, Encoding: c.Encoding, Bytes: c.Bytes, Segments: c.Segments, Size: len(c.Data)})
	if err != nil {
		return nil, err
	}
	frame := make([]byte, 0, 4+len(head)+len(c.Data))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(head)))
	return append(append(frame, head...), c.Data...), nil
}

var errFrameCut = errors.New("it ends in the middle of a frame")

// ReadLogFrames gives the chunks of a body. Their data are parts of it, not copies.
func ReadLogFrames(body []byte) (chunks []LogChunk, err error) {
	for len(body) > 0 {
		if len(chunks) == LogFramesMost {
			return nil, fmt.Errorf("it has more than %d frames", LogFramesMost)
		}
		var chunk LogChunk
		if chunk, body, err = readLogFrame(body); err != nil {
			return nil, fmt.Errorf("frame %d: %w", len(chunks), err)
		}
		chunks = append(chunks, chunk)
	}
	return chunks, nil
}

// readLogFrame reads one frame, and gives what follows it.
func readLogFrame(body []byte) (c LogChunk, rest []byte, err error) {
	if len(body) < 4 {
		return c, nil, errFrameCut
	}
	size := int64(binary.BigEndian.Uint32(body))
	if body = body[4:]; size > int64(len(body)) {
		return c, nil, errFrameCut
	}
	var head LogFrame
	if err := json.Unmarshal(body[:size], &head); err != nil {
		return c, nil, fmt.Errorf("its head: %w", err)
	}
	if body = body[size:]; head.Size < 0 || head.Size > len(body) {
		return c, nil, errFrameCut
	}
	c = LogChunk{Epoch: head.Epoch, Seq: head.Seq, Encoding: head.Encoding, Bytes: head.Bytes, Segments: head.Segments, Data: body[:head.Size:head.Size]}
	return c, body[head.Size:], nil
}

// LeaseLogFrames stores chunks of the log that follow each other, in frames; all or none. The answer says which chunk comes
// next.
func (c *Client) LeaseLogFrames(ctx context.Context, lease string, frames []byte) (ack LogAck, err error) {
	op := post(leasePath(lease, "log/frames"))
	req, err := http.NewRequestWithContext(ctx, op.method, c.base+op.path, bytes.NewReader(frames))
	if err != nil {
		return ack, err
	}
	req.Header.Set("Content-Type", TypeLogFrames)
	resp, err := c.send(req)
	if err != nil {
		return ack, err
	}
	defer drain(resp.Body)
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswerBytes)).Decode(&ack); err != nil {
		return ack, fmt.Errorf("%s: read answer: %w", op, err)
	}
	return ack, nil
}
