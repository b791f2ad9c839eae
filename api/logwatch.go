package api

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/ottoci/otto/db"
)

// logWatches know how far the logs that are followed have come, for all of this process who follow them.
type logWatches struct {
	queries *db.Queries

	mu      sync.Mutex
	watches map[uuid.UUID]*logWatch
}

// logWatch is one log that is followed.
type logWatch struct {
	followers int // the lock of all watches guards it

	mu     sync.Mutex
	looked time.Time // when the last look began
	lease  db.Lease
}

func newLogWatches(queries *db.Queries) *logWatches {
	return &logWatches{queries: queries, watches: map[uuid.UUID]*logWatch{}}
}

// join begins to watch a log; leave must be called at the end.
func (s *logWatches) join(lease uuid.UUID) (w *logWatch, leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w = s.watches[lease]
	if w == nil {
		w = &logWatch{}
		s.watches[lease] = w
	}
	w.followers++
	return w, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if w.followers--; w.followers == 0 {
			delete(s.watches, lease)
		}
	}
}

// look gives the lease as it was at a time or later. A wake-up wakes all followers at once: the first one asks the database.
func (s *logWatches) look(ctx context.Context, w *logWatch, lease uuid.UUID, since time.Time) (db.Lease, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.looked.Before(since) {
		return w.lease, nil
	}
	began := time.Now()
	found, err := s.queries.LeaseByID(ctx, lease)
	if err == nil {
		w.lease, w.looked = found, began
	}
	return found, err
}
