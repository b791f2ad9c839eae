package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// simLink is the line between one agent and the server.
type simLink struct {
	sim   *sim
	agent int

	mu       sync.Mutex
	mode     simMode
	only     string        // the operations that the mode is for; all if empty
	changed  chan struct{} // closed and replaced with the mode
	count    map[string]int
	noisy    bool
	badSince time.Time // zero while it is well
	badUntil time.Time
}

// simMode is what a line does to requests.
type simMode int

const (
	simOpen simMode = iota
	simCut          // resets every connection
	simHole         // is silent: requests vanish, and so do the answers on their way
	simDeaf         // loses answers only
	simClog         // keeps everything until it is open again, and then lets it through, late
)

var errSimReset = errors.New("connection reset by peer")

func (l *simLink) set(mode simMode, only string, noisy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bad := mode != simOpen || noisy
	switch {
	case !bad:
		l.badSince, l.badUntil = time.Time{}, time.Now()
	case l.badSince.IsZero():
		l.badSince = time.Now()
	}
	l.mode, l.only, l.noisy = mode, only, noisy
	close(l.changed)
	l.changed = make(chan struct{})
}

// state gives the mode for an operation, and a channel that is closed when it changes.
func (l *simLink) state(op string) (simMode, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.only != "" && l.only != op {
		return simOpen, l.changed
	}
	return l.mode, l.changed
}

// hurt notes that a single request met a fault.
func (l *simLink) hurt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.badUntil = time.Now()
}

// simTrip is one life of an agent program on its line.
type simTrip struct {
	*simLink
	gone context.Context // ends when the program is killed
}

// simReply is what comes back, if anything.
type simReply struct {
	status int
	answer any
	err    error
}

// RoundTrip sends a request through the line. What is on its way goes on when the sender has given up.
func (l simTrip) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		_ = req.Body.Close()
	}
	if l.gone.Err() != nil {
		return nil, errSimReset
	}
	op := simOp(req.URL.Path)
	l.mu.Lock()
	l.count[op]++
	n, noisy := l.count[op], l.noisy
	l.mu.Unlock()
	luck := l.sim.luck("request", uint64(l.agent), simHash(op), uint64(n))
	w := simWire{trip: l, op: op, path: req.URL.Path, body: body, out: latency(luck), back: latency(luck)}
	if noisy {
		w.roll(luck)
	}
	reply := make(chan simReply, 2)
	ctx, cancel := context.WithCancel(l.sim.ctx)
	stop := context.AfterFunc(req.Context(), cancel)
	l.sim.group.Go(func() {
		defer stop()
		defer cancel()
		w.carry(ctx, reply)
	})
	if w.again > 0 {
		copied := w
		copied.out, copied.again, copied.lose = w.out+w.again, 0, true
		l.sim.group.Go(func() { copied.carry(l.sim.ctx, reply) })
	}
	select {
	case <-req.Context().Done():
		return nil, req.Context().Err()
	case <-l.gone.Done():
		return nil, errSimReset
	case r := <-reply:
		l.sim.answered()
		return r.response(req)
	}
}

func (r simReply) response(req *http.Request) (*http.Response, error) {
	if r.err != nil {
		return nil, r.err
	}
	kind := "application/json"
	if r.status >= 400 {
		kind = "application/problem+json"
	}
	var body []byte
	if r.answer != nil {
		var err error
		if body, err = json.Marshal(r.answer); err != nil {
			return nil, err
		}
	}
	return &http.Response{StatusCode: r.status, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(bytes.NewReader(body)), Request: req, Proto: "HTTP/1.1"}, nil
}

// simWire is a request on its way.
type simWire struct {
	trip      simTrip
	op, path  string
	body      []byte
	out, back time.Duration
	again     time.Duration // a copy follows; none if 0
	reset     bool          // before it arrives
	lose      bool          // its answer vanishes
}

// roll decides what a noisy line does to a request.
func (w *simWire) roll(luck *dice) {
	switch luck.IntN(20) {
	case 0, 1:
		w.reset = true
	case 2:
		w.lose = true
	case 3, 4:
		w.again = time.Duration(luck.Int64N(int64(200 * time.Millisecond)))
	case 5:
		w.again = time.Duration(luck.Int64N(int64(40 * time.Second)))
	case 6, 7:
		w.out += time.Duration(luck.Int64N(int64(8 * time.Second)))
	}
	if luck.IntN(20) == 0 {
		w.back += time.Duration(luck.Int64N(int64(8 * time.Second)))
	}
	w.trip.hurt()
}

// carry brings the request to the server and the answer back.
func (w *simWire) carry(ctx context.Context, reply chan<- simReply) {
	if !w.pass(ctx, w.out, reply) {
		return
	}
	if w.reset {
		reply <- simReply{err: errSimReset}
		return
	}
	v := w.trip.sim.server
	v.mu.Lock()
	health, life := v.health, v.life
	if v.arrived != nil {
		v.arrived(w.trip.agent, w.op)
	}
	v.mu.Unlock()
	var r simReply
	switch health {
	case simSilent:
		return
	case simRefuse:
		r.err = errSimReset
	case simSick:
		r = simReply{status: 503, answer: map[string]any{"status": 503, "detail": "the database cannot be used now"}}
	default:
		if w.trip.gone.Err() != nil && w.op == "hello" {
			return // what a dead program says of its birth is not about the one that follows
		}
		r.status, r.answer, r.err = v.serve(ctx, w.trip.agent, w.path, w.body)
		v.mu.Lock()
		if v.health == simSilent {
			w.lose = true
		} else if life != v.life {
			r = simReply{err: errSimReset}
		}
		v.mu.Unlock()
	}
	if !w.lose && w.pass(context.WithoutCancel(ctx), w.back, reply) {
		if mode, _ := w.trip.state(w.op); mode != simDeaf {
			reply <- r
		}
	}
}

// pass takes a message over the line. It says whether it got there.
func (w *simWire) pass(ctx context.Context, d time.Duration, reply chan<- simReply) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for over := false; ; {
		mode, changed := w.trip.state(w.op)
		switch {
		case mode == simCut:
			reply <- simReply{err: errSimReset}
			return false
		case mode == simHole:
			return false
		case over && mode != simClog:
			return true
		}
		select {
		case <-timer.C:
			over = true
		case <-changed:
		case <-w.trip.sim.ctx.Done():
			return false
		case <-ctx.Done():
			// The sender has left. What is under way arrives all the same.
			ctx = context.WithoutCancel(ctx)
		}
	}
}

// latency is that of a healthy network. Its nanoseconds are random, so that things seldom happen at the same time.
func latency(luck *dice) time.Duration {
	return 200*time.Microsecond + time.Duration(luck.Int64N(int64(5*time.Millisecond)))
}

// simOp is the name of an operation.
func simOp(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
