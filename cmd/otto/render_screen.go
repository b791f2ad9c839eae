package main

import (
	"bytes"
	"io"
	"sync"
)

// screen is where the output of many tasks meets, a line at a time.
type screen struct {
	out io.Writer

	mu   sync.Mutex
	open *lane // whose last line has no end yet
	puts int   // how often somebody wrote
	err  error // of the first write that failed; the others are not tried
}

// lane is one task's way to the screen. Without a prefix its bytes pass as they come, so that progress within a line is
// seen; with one they pass by whole lines.
type lane struct {
	*screen
	prefix string
	held   []byte // with a prefix: the line that has no end yet
}

// heldLimit is how much of a line without an end is kept back: a step may write a gigabyte of zeros.
const heldLimit = 64 << 10

// write passes a task's output on.
func (l *lane) write(text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(text) == 0 {
		return
	}
	if l.prefix == "" {
		l.put(text)
		return
	}
	l.held = append(l.held, text...)
	end := bytes.LastIndexByte(l.held, '\n') + 1
	if end == 0 && len(l.held) > heldLimit {
		end = len(l.held)
	}
	l.lines(l.held[:end])
	l.held = append(l.held[:0], l.held[end:]...)
}

// line writes a line of ours; what the task has begun comes first. It answers the place of the line, for isLast.
func (l *lane) line(text string) (at int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	l.lines([]byte(text + "\n"))
	return l.puts
}

// finish ends a line that the task has begun.
func (l *lane) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
}

func (l *lane) flush() {
	if len(l.held) > 0 {
		l.lines(append(l.held, '\n'))
		l.held = l.held[:0]
	}
	if l.open != nil {
		l.put(nil)
	}
}

// lines writes whole lines, each with the prefix.
func (l *lane) lines(text []byte) {
	if l.prefix == "" || len(text) == 0 {
		l.put(text)
		return
	}
	var out []byte
	for line := range bytes.Lines(text) {
		out = append(append(out, l.prefix...), overwritten(line)...)
	}
	if out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	l.put(out)
}

// overwritten is what a terminal would show of a line with carriage returns; behind a prefix they would erase it.
func overwritten(line []byte) []byte {
	body := bytes.TrimRight(line, "\r\n")
	if i := bytes.LastIndexByte(body, '\r'); i >= 0 {
		return append(bytes.Clone(body[i+1:]), '\n')
	}
	return line
}

// put writes bytes, after the end of a line that somebody else has begun.
func (l *lane) put(text []byte) {
	if l.open != nil && (l.open != l || len(text) == 0) {
		text = append([]byte("\n"), text...)
		l.open = nil
	}
	if len(text) == 0 || l.err != nil {
		return
	}
	_, l.err = l.out.Write(text)
	l.puts++
	l.open = nil
	if text[len(text)-1] != '\n' {
		l.open = l
	}
}

// isLast says whether nothing has been written since a line was.
func (s *screen) isLast(at int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.puts == at
}
