package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A stored log is its chunks' zstd frames, one after the other, and then an index in a skippable frame. So any zstd
// program reads the object, and a reader that has the index fetches only the frames it needs.

// LogChunk says where a chunk of a log is.
type LogChunk struct {
	Seq       int             `json:"seq"`
	FirstByte int64           `json:"first_byte"` // raw
	Bytes     int             `json:"bytes"`      // raw
	FirstLine int64           `json:"first_line"` // line ends before the chunk
	Lines     int             `json:"lines"`      // line ends in it
	Segments  json.RawMessage `json:"segments"`
	At        int64           `json:"at"`     // of the frame, in the object
	Stored    int             `json:"stored"` // size of the frame
}

// skippableMagic begins a frame that zstd readers skip (RFC 8878, section 3.1.2).
const skippableMagic = 0x184D2A50

// maxLogIndex bounds the index that a reader unpacks: 64 MiB are some 400,000 chunks.
const maxLogIndex = 64 << 20

// A LogCodec makes and reads stored logs. It keeps its compressors for the next one: to make them takes longer than to
// store a small log. The zero value works; any number may use it at once.
type LogCodec struct{ encoders, decoders sync.Pool }

// A LogObject writes a stored log. Use: Add each chunk in order, then Close.
type LogObject struct {
	codec *LogCodec
	w     io.Writer
	at    int64
	index []LogChunk
}

// NewLogObject writes to w.
func (c *LogCodec) NewLogObject(w io.Writer) *LogObject { return &LogObject{codec: c, w: w} }

// Unpack writes the raw bytes of a stored log to w, as any zstd reader would read them, and says how many they are.
func (c *LogCodec) Unpack(w io.Writer, object io.Reader) (int64, error) {
	dec, ok := c.decoders.Get().(*zstd.Decoder)
	if !ok {
		var err error
		if dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1)); err != nil {
			return 0, err
		}
	}
	defer c.decoders.Put(dec)
	if err := dec.Reset(object); err != nil {
		return 0, err
	}
	defer func() { _ = dec.Reset(nil) }() // it lets go of the object
	return io.Copy(w, dec)
}

// pack compresses an index.
func (c *LogCodec) pack(index []byte) ([]byte, error) {
	enc, ok := c.encoders.Get().(*zstd.Encoder)
	if !ok {
		var err error
		if enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)); err != nil {
			return nil, err
		}
	}
	defer c.encoders.Put(enc)
	return enc.EncodeAll(index, nil), nil
}

// Add writes a chunk's frame.
func (o *LogObject) Add(c LogChunk, frame []byte) error {
	c.At, c.Stored = o.at, len(frame)
	n, err := o.w.Write(frame)
	o.at += int64(n)
	o.index = append(o.index, c)
	return err
}

// Close writes the index and says where it begins and how long the object is.
func (o *LogObject) Close() (indexAt, size int64, err error) { return o.close(o.index) }

func (o *LogObject) close(index any) (indexAt, size int64, err error) {
	body, err := json.Marshal(index)
	if err != nil {
		return 0, 0, err
	}
	packed, err := o.codec.pack(body)
	if err != nil {
		return 0, 0, err
	}
	head := binary.LittleEndian.AppendUint32(nil, skippableMagic)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(packed)))
	if _, err := o.w.Write(append(head, packed...)); err != nil {
		return 0, 0, err
	}
	return o.at, o.at + int64(len(head)+len(packed)), nil
}

// unpackIndex reads the skippable frame that ends an object.
func unpackIndex(frame []byte) ([]byte, error) {
	if len(frame) < 8 || binary.LittleEndian.Uint32(frame) != skippableMagic || int(binary.LittleEndian.Uint32(frame[4:])) != len(frame)-8 {
		return nil, fmt.Errorf("the index of a stored log is damaged")
	}
	dec, err := zstd.NewReader(bytes.NewReader(frame[8:]), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxLogIndex))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	index, err := io.ReadAll(io.LimitReader(dec, maxLogIndex))
	if err != nil {
		return nil, fmt.Errorf("read the index of a stored log: %w", err)
	}
	return index, nil
}

// parseLogIndex reads the index of one log, in an object of its own or in one with others.
func parseLogIndex(frame []byte, log string) (chunks []LogChunk, err error) {
	index, err := unpackIndex(frame)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(index, []byte("{")) {
		if err := json.Unmarshal(index, &chunks); err != nil {
			return nil, fmt.Errorf("read the index of a stored log: %w", err)
		}
		return chunks, nil
	}
	logs, err := parsePackIndex(index)
	if err != nil {
		return nil, err
	}
	chunks, found := logs[log]
	if !found {
		return nil, fmt.Errorf("the index of stored logs does not have %s", log)
	}
	return chunks, nil
}
