package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// door is a reverse proxy between one caller, an agent or the users, and the API nodes. It is the balancer of a real
// fleet, it is where the network breaks, and it notes what was asked and answered.
type door struct {
	name    string
	nodes   []string // host:port of the API nodes
	history *history
	server  *http.Server
	url     string
	serving sync.WaitGroup
	life    context.Context // ends with the door
	die     context.CancelFunc
	mu      sync.Mutex
	node    int // the one that answers; the next when it is away
	weather weather
	changed context.Context // ends when the weather changes for the worse
	change  context.CancelFunc
	counts  doorCounts
}

// weather is what a door does to requests.
type weather struct {
	cut       bool // connections are closed
	hole      bool // requests get in, nothing ever comes out, and nobody is told
	deaf      bool // requests reach the server, answers are lost
	duplicate bool // some requests arrive twice
	delay     bool // some requests arrive late, and so in another order
}

// doorCounts says how much a door has seen.
type doorCounts struct{ Requests, Duplicated, Delayed, Lost int }

const (
	maxBody   = 16 << 20
	oftenness = 0.3 // of duplicates and delays, while they are on
	longDelay = 700 * time.Millisecond

	longStale  = 2 * time.Second // how late a copy may be
	staleLimit = 8 * time.Second // and when it is given up: the copy of a held request has no end of its own
)

var errWeather = errors.New("the network is down")

func newDoor(name string, nodes []string, h *history) (*door, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &door{name: name, nodes: nodes, history: h, url: "http://" + listener.Addr().String()}
	d.changed, d.change = context.WithCancel(context.Background())
	d.life, d.die = context.WithCancel(context.Background())
	d.server = &http.Server{Handler: d, ReadHeaderTimeout: time.Minute}
	d.serving.Go(func() { _ = d.server.Serve(listener) }) // it ends when we do
	return d, nil
}

// set changes the weather. What is under way feels it: a connection that is cut is cut at once.
func (d *door) set(change func(*weather)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.weather)
	d.change()
	d.changed, d.change = context.WithCancel(context.Background())
}

func (d *door) now() (weather, context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.weather, d.changed
}

func (d *door) count(f func(*doorCounts)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.counts)
}

// ServeHTTP passes one request on, or does to it what the weather does.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	d.count(func(c *doorCounts) { c.Requests++ })
	if now, _ := d.now(); now.delay && rand.Float64() < oftenness {
		d.count(func(c *doorCounts) { c.Delayed++ })
		wait(r.Context(), rand.N(longDelay))
	}
	d.await(r.Context())
	got, err := d.pass(r, body)
	d.await(r.Context())
	if now, _ := d.now(); err != nil && !errors.Is(err, errBadGateway) || now.deaf {
		d.count(func(c *doorCounts) { c.Lost++ })
		panic(http.ErrAbortHandler)
	}
	got.write(w)
}

// await holds a request in a hole, for as long as its caller has patience, and then drops it.
func (d *door) await(ctx context.Context) {
	for {
		now, changed := d.now()
		switch {
		case now.cut:
			panic(http.ErrAbortHandler)
		case !now.hole:
			return
		}
		select {
		case <-ctx.Done():
		case <-changed.Done():
			if after, _ := d.now(); after.hole {
				continue
			}
		}
		panic(http.ErrAbortHandler)
	}
}

// pass sends the request to a node, perhaps twice, and gives one of the answers.
func (d *door) pass(r *http.Request, body []byte) (answer, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer d.abandon(cancel)()
	now, _ := d.now()
	if !now.duplicate || rand.Float64() > oftenness {
		return d.forward(ctx, r, body)
	}
	d.count(func(c *doorCounts) { c.Duplicated++ })
	if rand.N(2) == 0 {
		d.serving.Go(func() { d.again(r, body) })
		return d.forward(ctx, r, body)
	}
	var first, second answer
	var firstErr, secondErr error
	var both sync.WaitGroup
	both.Go(func() { first, firstErr = d.forward(ctx, r, body) })
	wait(ctx, rand.N(50*time.Millisecond))
	second, secondErr = d.forward(ctx, r, body)
	both.Wait()
	if rand.N(2) == 0 {
		return first, firstErr
	}
	return second, secondErr
}

// again sends a stale copy of a request: its caller has had an answer and is elsewhere by now.
func (d *door) again(r *http.Request, body []byte) {
	ctx, cancel := context.WithTimeout(d.life, staleLimit)
	defer cancel()
	wait(ctx, rand.N(longStale))
	_, _ = d.forward(ctx, r, body) // nobody waits for it
}

// abandon cuts a request that is under way when the weather is cut. The server may be done with it: nobody knows.
func (d *door) abandon(cancel context.CancelCauseFunc) func() {
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			now, changed := d.now()
			if now.cut {
				cancel(errWeather)
			}
			select {
			case <-over:
				return
			case <-changed.Done():
			}
		}
	})
	return func() {
		close(over)
		watching.Wait()
	}
}

// answer is a whole answer of a node.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) write(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the caller may be gone
}

// errBadGateway is a node that is away; the caller is told, as a balancer does.
var errBadGateway = errors.New("no node answers")

var transport = &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true, IdleConnTimeout: 30 * time.Second}

// forward does the request at the node of the day, and notes it.
func (d *door) forward(ctx context.Context, r *http.Request, body []byte) (answer, error) {
	d.mu.Lock()
	node := d.node
	d.mu.Unlock()
	noted := d.history.begin(r.URL.Path, body)
	got, err := send(ctx, r, d.nodes[node%len(d.nodes)], body)
	d.history.end(r.URL.Path, noted, got, err)
	if err == nil || ctx.Err() != nil {
		return got, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.node == node {
		d.node++
	}
	return answer{status: http.StatusBadGateway, header: http.Header{}}, errBadGateway
}

func send(ctx context.Context, r *http.Request, node string, body []byte) (answer, error) {
	out, err := http.NewRequestWithContext(ctx, r.Method, "http://"+node+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for name, values := range r.Header {
		if !strings.EqualFold(name, "Connection") {
			out.Header[name] = values
		}
	}
	resp, err := transport.RoundTrip(out)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	got := answer{status: resp.StatusCode, header: resp.Header}
	got.body, err = io.ReadAll(resp.Body)
	return got, err
}

func (d *door) end() {
	d.set(func(w *weather) { w.cut = true })
	d.die()
	_ = d.server.Close()
	d.serving.Wait()
}
