package store

import (
	"context"
	"io"
)

// LogPlace says where a stored log is.
type LogPlace struct {
	Key     string
	IndexAt int64  // where the index begins, which ends the object
	Log     string // its name, if it shares the object with others
}

// ReadLogIndex reads where the chunks of a stored log are.
func (s *Store) ReadLogIndex(ctx context.Context, at LogPlace) ([]LogChunk, error) {
	frame, err := s.readRange(ctx, at.Key, at.IndexAt, -1)
	if err != nil {
		return nil, err
	}
	return parseLogIndex(frame, at.Log)
}

// ReadLogFrame reads one chunk of a stored log: a zstd frame.
func (s *Store) ReadLogFrame(ctx context.Context, key string, c LogChunk) ([]byte, error) {
	return s.readRange(ctx, key, c.At, int64(c.Stored))
}

func (s *Store) readRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	r, err := s.GetRange(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
