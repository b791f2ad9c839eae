package api

import (
	"net/http"
	"time"
)

// stream writes an answer of unknown length. Each write gets a deadline of its own: a peer that reads slowly is served,
// one that has stopped reading is cut off.
type stream struct {
	w        http.ResponseWriter
	c        *http.ResponseController
	extended time.Time
}

func newStream(w http.ResponseWriter) *stream {
	return &stream{w: w, c: http.NewResponseController(w)}
}

// Write extends the deadline, at most once a second, and writes.
func (s *stream) Write(b []byte) (int, error) {
	if now := time.Now(); now.Sub(s.extended) > time.Second {
		s.extended = now
		_ = s.c.SetWriteDeadline(now.Add(writePatience))
	}
	return s.w.Write(b)
}

// flush sends what was written on its way.
func (s *stream) flush() error { return s.c.Flush() }
