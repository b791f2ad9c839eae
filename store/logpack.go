package store

import (
	"encoding/json"
	"fmt"
	"io"
)

// A LogPack writes many small logs into one object. Their frames lie one after the other, and the index, at the end as in the
// object of one log, says whose they are. Use: Add each chunk of a log in order, one log after the other, then Close.
type LogPack struct {
	object *LogObject
	logs   map[string][]LogChunk
}

// packIndex is an object where a single log has a list: a reader that knows of no packs refuses it, rather than show the log of
// somebody else.
type packIndex struct {
	Logs map[string][]LogChunk `json:"logs"`
}

// NewLogPack writes to w.
func (c *LogCodec) NewLogPack(w io.Writer) *LogPack {
	return &LogPack{object: c.NewLogObject(w), logs: map[string][]LogChunk{}}
}

// Add writes a frame of a log.
func (p *LogPack) Add(log string, c LogChunk, frame []byte) error {
	p.object.index = p.logs[log]
	err := p.object.Add(c, frame)
	p.logs[log] = p.object.index
	return err
}

// Close writes the index and says where it begins and how long the object is.
func (p *LogPack) Close() (indexAt, size int64, err error) { return p.object.close(packIndex{p.logs}) }

// ParseLogPack reads an object that was written by a LogPack: the frames of each log, as they lie there.
func ParseLogPack(object []byte, indexAt int64) (map[string][][]byte, error) {
	if indexAt < 0 || indexAt > int64(len(object)) {
		return nil, fmt.Errorf("the index of stored logs is to begin at %d, and the object has %d bytes", indexAt, len(object))
	}
	index, err := unpackIndex(object[indexAt:])
	if err != nil {
		return nil, err
	}
	logs, err := parsePackIndex(index)
	if err != nil {
		return nil, err
	}
	frames := make(map[string][][]byte, len(logs))
	for log, chunks := range logs {
		for i, c := range chunks {
			if c.Seq != i || c.At < 0 || c.Stored < 0 || c.At+int64(c.Stored) > indexAt {
				return nil, fmt.Errorf("the index of stored logs is wrong about chunk %d of %s", i, log)
			}
			frames[log] = append(frames[log], object[c.At:c.At+int64(c.Stored)])
		}
	}
	return frames, nil
}

func parsePackIndex(index []byte) (map[string][]LogChunk, error) {
	var p packIndex
	if err := json.Unmarshal(index, &p); err != nil {
		return nil, fmt.Errorf("read the index of stored logs: %w", err)
	}
	return p.Logs, nil
}
