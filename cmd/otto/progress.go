package main

import (
	"fmt"
	"io"
	"time"
)

// progress says how far something is, once it takes longer than a second: on a terminal in place, elsewhere in one line.
type progress struct {
	app   *app
	what  string
	began time.Time
	shown time.Time
}

const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
)

func (a *app) progress(what string) *progress {
	return &progress{app: a, what: what, began: time.Now()}
}

func (p *progress) update(done, of int64) {
	now := time.Now()
	if now.Sub(p.began) < progressAfter || now.Sub(p.shown) < progressEvery {
		return
	}
	terminal := isTerminal(p.app.stderr)
	if !terminal && !p.shown.IsZero() {
		return
	}
	p.shown = now
	text := fmt.Sprintf("%s: %s of %s", p.what, size(done), size(of))
	if terminal {
		fmt.Fprintf(p.app.stderr, "\r\x1b[K%s", text)
		return
	}
	p.app.say("%s", text)
}

// done clears the line.
func (p *progress) done() {
	if !p.shown.IsZero() && isTerminal(p.app.stderr) {
		fmt.Fprint(p.app.stderr, "\r\x1b[K")
	}
}

// reader reports what is read from r.
func (p *progress) reader(r io.Reader, of int64) io.Reader {
	return &progressReader{Reader: r, progress: p, of: of}
}

type progressReader struct {
	io.Reader
	progress *progress
	done, of int64
}

func (r *progressReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.done += int64(n)
	r.progress.update(r.done, r.of)
	return n, err
}
