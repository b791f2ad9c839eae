package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/ottoci/otto/client"
)

const (
	// batchRaw and batchBytes bound the chunks of one request, raw and packed; one chunk always goes.
	batchRaw   = 4 << 20
	batchBytes = 2 << 20
	// promptRaw is how much output waits while the server answers: a request's worth on its way and the next one ready.
	// So little is left when a step ends that its log is complete in a moment, and yet the line is never idle.
	promptRaw = 2 * batchRaw
	// promptPatience is for how long a step waits for a server that says nothing. Then it counts as away.
	promptPatience = time.Second
	// memorySpool is up to how many bytes wait in memory. Most logs are smaller, and to make a file and remove it takes longer
	// than the rest of their way.
	memorySpool = 64 << 10
)

// spool holds the chunks of a log until the server has them, on disk once they are many. It lives no longer than the agent:
// a lease does not either, so the file is for the server being away, not for the agent.
type spool struct {
	path  string
	limit int64 // bytes that may wait; see waitRoom

	mu      sync.Mutex
	file    *os.File // nil while memory holds what would be in it
	memory  []byte
	changed chan struct{} // closed and replaced at each change
	waiting []extent      // chunks that are not acknowledged
	first   int           // number of the first of them
	end     int64         // where the next chunk goes
	size    int64         // bytes of the waiting chunks
	raw     int64         // bytes of output in them
	room    int64         // raw bytes that may wait while the server answers
	heard   time.Time     // when it took the last chunk, or the first one began to wait
	away    bool          // it does not answer
	sealed  bool          // no chunk follows
	gone    bool          // nobody wants the chunks any more
}

// extent is where a chunk is in the file. Chunks that wait lie one after the other.
type extent struct{ at, length, raw int64 }

// batch is what goes in one request: the frames of chunks that follow each other.
type batch struct {
	frames []byte
	seq    int // of the first chunk
}

var errSpoolLost = errors.New("the server wants a chunk that it has acknowledged before")

func newSpool(path string, limit int64) *spool {
	return &spool{path: path, limit: limit, changed: make(chan struct{}), room: promptRaw}
}

// append stores a chunk's frame.
func (s *spool) append(frame []byte, raw int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil
	}
	if err := s.write(frame); err != nil {
		return err
	}
	if len(s.waiting) == 0 {
		s.heard = time.Now()
	}
	e := extent{s.end, int64(len(frame)), int64(raw)}
	s.waiting = append(s.waiting, e)
	s.end += e.length
	s.size += e.length
	s.raw += e.raw
	s.notify()
	return nil
}

// write puts a frame behind the others. The caller holds the lock.
func (s *spool) write(frame []byte) error {
	if s.file == nil && s.end+int64(len(frame)) <= memorySpool {
		s.memory = append(s.memory, frame...)
		return nil
	}
	if s.file == nil {
		f, err := os.OpenFile(s.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			return fmt.Errorf("make the log's spool: %w", err)
		}
		if _, err := f.WriteAt(s.memory, 0); err != nil {
			return errors.Join(err, f.Close(), os.Remove(s.path))
		}
		s.file, s.memory = f, nil
	}
	_, err := s.file.WriteAt(frame, s.end)
	return err
}

// empty forgets what is written. The caller holds the lock.
func (s *spool) empty() error {
	s.end, s.memory = 0, s.memory[:0]
	if s.file == nil {
		return nil
	}
	return s.file.Truncate(0)
}

// seal says that no chunk follows.
func (s *spool) seal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
	s.notify()
}

// next waits for a chunk with this number or one after it, and gives it and those behind it, as many as go in a request.
// It gives none once all are acknowledged.
func (s *spool) next(ctx context.Context, seq int) (batch, error) {
	for {
		s.mu.Lock()
		i, changed := max(seq-s.first, 0), s.changed
		switch {
		case i < len(s.waiting):
			defer s.mu.Unlock()
			return s.read(i)
		case s.sealed && len(s.waiting) == 0:
			s.mu.Unlock()
			return batch{}, nil
		}
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return batch{}, context.Cause(ctx)
		}
	}
}

// read gives a batch that begins with the ith waiting chunk. The caller holds the lock.
func (s *spool) read(i int) (batch, error) {
	last, raw := i, s.waiting[i].raw
	for n := i + 1; n < len(s.waiting) && n-i < client.LogFramesMost; n++ {
		raw += s.waiting[n].raw
		if raw > batchRaw || s.waiting[n].at+s.waiting[n].length-s.waiting[i].at > batchBytes {
			break
		}
		last = n
	}
	frames := make([]byte, s.waiting[last].at+s.waiting[last].length-s.waiting[i].at)
	if s.file == nil {
		copy(frames, s.memory[s.waiting[i].at:])
		return batch{frames, s.first + i}, nil
	}
	_, err := s.file.ReadAt(frames, s.waiting[i].at)
	return batch{frames, s.first + i}, err
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
	taken := int64(0)
	for _, e := range s.waiting[:n] {
		s.size -= e.length
		taken += e.raw
	}
	s.raw -= taken
	s.heard, s.away = time.Now(), false
	// What was heaped up while the server was away goes down by half of what it takes now: the step goes on meanwhile.
	s.room = max(promptRaw, s.raw+taken/2)
	s.waiting, s.first = s.waiting[n:], s.first+n
	defer s.notify()
	if len(s.waiting) > 0 {
		if s.file != nil {
			punchHole(s.file, s.waiting[0].at)
		}
		return nil
	}
	s.waiting = nil
	return s.empty()
}

// lost says that the server did not answer: the step goes on without it, until it takes a chunk again.
func (s *spool) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = true
	s.notify()
}

// waitRoom returns once there is room for more, or ctx ends.
func (s *spool) waitRoom(ctx context.Context) {
	for {
		s.mu.Lock()
		full, patience, changed := s.full()
		s.mu.Unlock()
		if !full {
			return
		}
		timer := time.NewTimer(patience)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// full says whether a step has to wait, and for how long at most before it asks again. Disk is for a server that is away;
// while it answers, much less may wait.
func (s *spool) full() (full bool, patience time.Duration, changed <-chan struct{}) {
	patience = time.Minute
	hasty := s.raw >= s.room && !s.away
	if hasty {
		patience = promptPatience - time.Since(s.heard)
		s.away = patience <= 0
		hasty = !s.away
	}
	return (hasty || s.size >= s.limit) && !s.gone, patience, s.changed
}

// remove deletes the file. What is written afterwards is dropped.
func (s *spool) remove() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone, s.waiting, s.size, s.raw = true, nil, 0, 0
	s.notify()
	if s.file == nil {
		return nil
	}
	return errors.Join(s.file.Close(), os.Remove(s.path))
}

func (s *spool) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// drop forgets all chunks, and those that follow: the server will not take them.
func (s *spool) drop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone, s.waiting, s.size, s.raw = true, nil, 0, 0
	s.notify()
	return s.empty()
}
