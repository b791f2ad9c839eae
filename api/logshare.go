package api

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"github.com/google/uuid"
)

const (
	// shareKept bounds the pieces that nobody holds at the moment. Who follows a log reads about where the others do.
	shareKept = 8 << 20
	// shareCrowd is how much is in memory before readers let go of their pieces while they write. Two hundred viewers of one
	// log, each at another place and none of them reading, would otherwise hold two hundred chunks.
	shareCrowd = 16 << 20
	// shareSlice is what a reader keeps of a piece that it has let go.
	shareSlice = 64 << 10
)

// logShare holds the pieces of logs that are being read: each is read and unpacked once for all readers of this process
// that want it at about the same time.
type logShare struct {
	buffers     *sync.Pool // of *[]byte with room for a chunk
	kept, crowd int64      // shareKept and shareCrowd

	mu     sync.Mutex
	pieces map[pieceKey]*sharedPiece
	idle   *list.List // of those that nobody holds, the one that was used last in front
	bytes  int64      // of all of them
}

// pieceKey names a chunk, in one of its forms.
type pieceKey struct {
	lease  uuid.UUID
	seq    int
	events bool // as server-sent events
}

// sharedPiece is a piece that many may hold. Its bytes are used again after the last has let go of it.
type sharedPiece struct {
	piece
	key   pieceKey
	holds int
	place *list.Element // among the idle
	ready chan struct{} // closed once it is loaded
	err   error         // why it was not
}

func newLogShare(buffers *sync.Pool) *logShare {
	return &logShare{buffers: buffers, kept: shareKept, crowd: shareCrowd, pieces: map[pieceKey]*sharedPiece{}, idle: list.New()}
}

// hold gives a piece, which load reads unless it is here. The caller lets go of it. Load may give more than was asked for,
// in order.
func (s *logShare) hold(ctx context.Context, key pieceKey, load func(context.Context) ([]piece, error)) (*sharedPiece, error) {
	for {
		p, mine := s.find(key)
		if mine {
			pieces, err := load(ctx)
			s.loaded(p, pieces, err)
		}
		select {
		case <-p.ready:
		case <-ctx.Done():
			s.release(p)
			return nil, context.Cause(ctx)
		}
		if p.err == nil {
			return p, nil
		}
		s.release(p)
		if !mine && ctx.Err() == nil && (errors.Is(p.err, context.Canceled) || errors.Is(p.err, context.DeadlineExceeded)) {
			continue // it was another reader's patience that ended
		}
		return nil, p.err
	}
}

// find gives the piece, held. If it is new, the caller has to load it.
func (s *logShare) find(key pieceKey) (p *sharedPiece, isNew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, known := s.pieces[key]
	if !known {
		p = &sharedPiece{key: key, ready: make(chan struct{})}
		s.pieces[key] = p
	}
	p.holds++
	if p.place != nil {
		s.idle.Remove(p.place)
		p.place = nil
	}
	return p, !known
}

// loaded fills a piece, and keeps those that came with it.
func (s *logShare) loaded(p *sharedPiece, pieces []piece, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.err = err; err != nil {
		delete(s.pieces, p.key) // the next one tries again
		close(p.ready)
		return
	}
	p.piece = pieces[0]
	s.bytes += p.weight()
	close(p.ready)
	for _, more := range pieces[1:] {
		s.keep(pieceKey{p.key.lease, more.seq, p.key.events}, more)
	}
	s.shrink()
}

// keep adds a piece that nobody holds, unless it is here. The caller holds the lock.
func (s *logShare) keep(key pieceKey, one piece) {
	if _, known := s.pieces[key]; known {
		s.reuse(one.raw)
		return
	}
	p := &sharedPiece{piece: one, key: key, ready: make(chan struct{})}
	close(p.ready)
	s.pieces[key] = p
	s.bytes += p.weight()
	p.place = s.idle.PushFront(p)
}

// release lets go of a piece.
func (s *logShare) release(p *sharedPiece) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.holds--; p.holds > 0 || p.err != nil {
		return
	}
	p.place = s.idle.PushFront(p)
	s.shrink()
}

// shrink forgets what nobody holds, the oldest first, until little enough is left. The caller holds the lock.
func (s *logShare) shrink() {
	for s.bytes > s.kept && s.idle.Len() > 0 {
		p := s.idle.Remove(s.idle.Back()).(*sharedPiece)
		delete(s.pieces, p.key)
		s.bytes -= p.weight()
		s.reuse(p.raw)
	}
}

// reuse takes back the bytes of a piece, where they have room for any.
func (s *logShare) reuse(raw []byte) {
	if cap(raw) == maxChunkBytes {
		raw = raw[:0]
		s.buffers.Put(&raw)
	}
}

// crowded says whether so much is held that readers should not hold pieces while they write.
func (s *logShare) crowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes > s.crowd
}

// room gives a buffer for that many bytes.
func (s *logShare) room(bytes int) []byte {
	if bytes > maxChunkBytes/2 && bytes <= maxChunkBytes {
		return (*s.buffers.Get().(*[]byte))[:0]
	}
	return make([]byte, 0, max(bytes, 0))
}

// weight is how much memory a piece takes, about.
func (p *sharedPiece) weight() int64 {
	const segment = 72 // bytes of a client.Segment
	return int64(cap(p.raw) + segment*cap(p.segments) + 400)
}
