package store

import (
	"context"
	"io"
)

// ReadLogIndex reads where the chunks of a stored log are. The index begins at indexAt and ends the object.
func (s *Store) ReadLogIndex(ctx context.Context, key string, indexAt int64) ([]LogChunk, error) {
	frame, err := s.readRange(ctx, key, indexAt, -1)
	if err != nil {
		return nil, err
	}
	return parseLogIndex(frame)
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
