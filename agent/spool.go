package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
)

// spool holds the chunks of a log on disk until the server has them. It lives no longer than the agent: a lease does not
// either, so the file is for the server being away, not for the agent.
type spool struct {
	file  *os.File
	limit int64 // bytes that may wait; see waitRoom

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change
	waiting []extent      // chunks that are not acknowledged
	first   int           // number of the first of them
	end     int64         // where the next chunk goes
	size    int64         // bytes of the waiting chunks
	sealed  bool          // no chunk follows
	gone    bool          // nobody wants the chunks any more
}

type extent struct{ at, length int64 }

var errSpoolLost = errors.New("the server wants a chunk that it has acknowledged before")

func newSpool(path string, limit int64) (*spool, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the log's spool: %w", err)
	}
	return &spool{file: f, limit: limit, changed: make(chan struct{})}, nil
}

// append stores a chunk.
func (s *spool) append(body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil
	}
	if _, err := s.file.WriteAt(body, s.end); err != nil {
		return err
	}
	s.waiting = append(s.waiting, extent{s.end, int64(len(body))})
	s.end += int64(len(body))
	s.size += int64(len(body))
	s.notify()
	return nil
}

// seal says that no chunk follows.
func (s *spool) seal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
	s.notify()
}

// next waits for a chunk with this number or one after it, and gives it. It gives nil once all are acknowledged.
func (s *spool) next(ctx context.Context, seq int) ([]byte, error) {
	for {
		s.mu.Lock()
		i, changed := max(seq-s.first, 0), s.changed
		switch {
		case i < len(s.waiting):
			body := make([]byte, s.waiting[i].length)
			_, err := s.file.ReadAt(body, s.waiting[i].at)
			s.mu.Unlock()
			return body, err
		case s.sealed && len(s.waiting) == 0:
			s.mu.Unlock()
			return nil, nil
		}
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// acknowledge forgets the chunks before this number and gives their space back to the disk.
func (s *spool) acknowledge(next int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next < s.first {
		return fmt.Errorf("chunk %d of a log: %w", next, errSpoolLost)
	}
	n := min(next-s.first, len(s.waiting))
	if n == 0 {
		return nil
	}
	for _, e := range s.waiting[:n] {
		s.size -= e.length
	}
	s.waiting, s.first = s.waiting[n:], s.first+n
	defer s.notify()
	if len(s.waiting) > 0 {
		punchHole(s.file, s.waiting[0].at)
		return nil
	}
	s.waiting, s.end = nil, 0
	return s.file.Truncate(0)
}

// waitRoom returns once less than the limit waits, or ctx ends.
func (s *spool) waitRoom(ctx context.Context) {
	for {
		s.mu.Lock()
		full, changed := s.size >= s.limit && !s.gone, s.changed
		s.mu.Unlock()
		if !full {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// remove deletes the file. What is written afterwards is dropped.
func (s *spool) remove() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone, s.waiting, s.size = true, nil, 0
	s.notify()
	return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
}

func (s *spool) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// drop forgets all chunks, and those that follow: the server will not take them.
func (s *spool) drop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone, s.waiting, s.size, s.end = true, nil, 0, 0
	s.notify()
	return s.file.Truncate(0)
}
