package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/ottoci/otto/client"
)

// fault is what goes wrong with one request.
type fault int

const (
	none       fault = iota
	drop             // the connection is cut before the request is acted on
	dropAnswer       // the connection is cut after it
	fail             // 500
	twice            // the request is acted on twice
	fenced           // 409 with code fenced
	unauthorized
	hang // no answer until the agent gives up
)

// server is an Otto server in memory, as far as agents can see.
type server struct {
	*httptest.Server
	settings client.AgentSettings

	mu      sync.Mutex
	changed chan struct{}                // closed and replaced at each change
	fault   func(op string, n int) fault // n counts the requests of an operation from 1
	calls   map[string]int               // by operation
	queue   []*record                    // to be leased
	records map[string]*record           // by lease
	sources map[string][]byte            // by digest
	beats   []client.Heartbeat
	takes   []client.LeaseRequest
	held    *client.LeaseRequest // the last that came, while it is held
	offers  []client.AgentOffer
	tokens  []string
	order   []string // operations on leases, in order of arrival
}

// record is what the server knows of a lease.
type record struct {
	lease    client.Lease
	granted  bool
	starts   int
	reports  []client.StepReport
	batches  []client.StepReports
	chunks   []client.LogChunk
	finish   *client.LeaseFinish
	finishes int
	release  *client.LeaseRelease
	abort    *client.Abort
	fenced   bool
}

func newServer(t *testing.T) *server {
	s := &server{
		settings: client.AgentSettings{LeaseTTLMS: 3000, HeartbeatMS: 100, GraceMS: 500, ChunkBytes: 256 << 10, Protocol: []string{"log-zstd"}},
		changed:  make(chan struct{}),
		calls:    map[string]int{},
		records:  map[string]*record{},
		sources:  map[string][]byte{},
	}
	mux := http.NewServeMux()
	handle := func(pattern, op string, h func(*record, []byte) (int, any)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, op, h) })
	}
	handle("POST /v1/agents", "enrol", s.enrol)
	handle("POST /v1/agent/hello", "hello", s.hello)
	handle("POST /v1/agent/heartbeat", "heartbeat", s.heartbeat)
	handle("POST /v1/agent/bye", "bye", func(*record, []byte) (int, any) { return 204, nil })
	handle("POST /v1/leases/{lease}/start", "start", s.start)
	handle("POST /v1/leases/{lease}/steps", "steps", s.stepReports)
	handle("POST /v1/leases/{lease}/log", "log", s.logChunk)
	handle("POST /v1/leases/{lease}/log/frames", "log", s.logFrames)
	handle("POST /v1/leases/{lease}/finish", "finish", s.finish)
	handle("POST /v1/leases/{lease}/release", "release", s.release)
	handle("GET /v1/leases/{lease}/source", "source", s.source)
	mux.HandleFunc("POST /v1/agent/lease", func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, "take", func(_ *record, body []byte) (int, any) { return s.take(r.Context(), body) })
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// serve answers one request, or lets go wrong what the test asks for.
func (s *server) serve(w http.ResponseWriter, r *http.Request, op string, h func(*record, []byte) (int, any)) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.calls[op]++
	s.tokens = append(s.tokens, r.Header.Get("Authorization"))
	f := none
	if s.fault != nil {
		f = s.fault(op, s.calls[op])
	}
	rec := s.records[r.PathValue("lease")]
	if rec != nil {
		s.order = append(s.order, op)
	}
	s.notify()
	s.mu.Unlock()
	switch f {
	case drop:
		cut(w)
		return
	case hang:
		<-r.Context().Done()
		return
	case fail:
		http.Error(w, "boom", http.StatusInternalServerError)
		return
	case fenced:
		refuse(w)
		return
	case unauthorized:
		w.WriteHeader(http.StatusUnauthorized)
		return
	case twice:
		h(rec, body)
	}
	if r.PathValue("lease") != "" && (rec == nil || rec.fenced) {
		refuse(w)
		return
	}
	status, answer := h(rec, body)
	if f == dropAnswer {
		cut(w)
		return
	}
	if raw, ok := answer.([]byte); ok {
		_, _ = w.Write(raw)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func cut(w http.ResponseWriter) {
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		_ = conn.Close()
	}
}

func refuse(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusConflict)
	_, _ = io.WriteString(w, `{"status":409,"code":"fenced","detail":"the lease is lost"}`)
}

func decode[T any](body []byte) (out T) {
	if err := json.Unmarshal(body, &out); err != nil {
		panic(err)
	}
	return out
}

// notify wakes those who wait for a change. The caller holds the lock.
func (s *server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *server) locked(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	s.notify()
}

func (s *server) enrol(_ *record, body []byte) (int, any) {
	s.locked(func() { s.offers = append(s.offers, decode[client.AgentOffer](body)) })
	return 201, client.AgentEnrolled{Agent: client.Agent{Agent: 7}, Token: "otto_agent_enrolled", Settings: s.settings}
}

func (s *server) hello(_ *record, body []byte) (int, any) {
	s.locked(func() { s.offers = append(s.offers, decode[client.AgentOffer](body)) })
	return 200, client.AgentWelcome{Agent: client.Agent{Agent: 7}, Settings: s.settings}
}

func (s *server) heartbeat(_ *record, body []byte) (int, any) {
	beat := decode[client.Heartbeat](body)
	answer := client.HeartbeatAnswer{Aborts: []client.Abort{}, Fenced: []string{}}
	s.locked(func() {
		s.beats = append(s.beats, beat)
		for _, id := range beat.Leases {
			switch rec := s.records[id]; {
			case rec == nil || rec.fenced || rec.finish != nil:
				answer.Fenced = append(answer.Fenced, id)
			case rec.abort != nil:
				answer.Aborts = append(answer.Aborts, *rec.abort)
			}
		}
	})
	return 200, answer
}

func (s *server) take(ctx context.Context, body []byte) (int, any) {
	request := decode[client.LeaseRequest](body)
	s.locked(func() { s.takes, s.held = append(s.takes, request), &request })
	defer s.locked(func() {
		if s.held == &request {
			s.held = nil
		}
	})
	answer := client.LeaseAnswer{Leases: []client.Lease{}, Aborts: []client.Abort{}}
	wait := time.NewTimer(time.Duration(request.WaitMS) * time.Millisecond)
	defer wait.Stop()
	for {
		s.mu.Lock()
		for len(s.queue) > 0 && len(answer.Leases) < request.Free {
			s.queue[0].granted = true
			answer.Leases = append(answer.Leases, s.queue[0].lease)
			s.queue = s.queue[1:]
		}
		changed := s.changed
		s.mu.Unlock()
		if len(answer.Leases) > 0 {
			return 200, answer
		}
		select {
		case <-changed:
		case <-wait.C:
			return 200, answer
		case <-ctx.Done():
			return 200, answer
		}
	}
}

func (s *server) start(rec *record, body []byte) (int, any) {
	s.locked(func() {
		rec.starts++
		rec.reports = append(rec.reports, decode[client.LeaseStart](body).Steps...)
	})
	return 200, client.LeaseState{State: client.Running}
}

func (s *server) stepReports(rec *record, body []byte) (int, any) {
	s.locked(func() {
		batch := decode[client.StepReports](body)
		rec.batches = append(rec.batches, batch)
		rec.reports = append(rec.reports, batch.Steps...)
	})
	return 200, client.LeaseState{State: client.Running}
}

func (s *server) logChunk(rec *record, body []byte) (int, any) {
	return s.log(rec, []client.LogChunk{decode[client.LogChunk](body)})
}

func (s *server) logFrames(rec *record, body []byte) (int, any) {
	chunks, err := client.ReadLogFrames(body)
	if err != nil || len(chunks) == 0 {
		panic(fmt.Sprintf("%d chunks, %v", len(chunks), err))
	}
	return s.log(rec, chunks)
}

func (s *server) log(rec *record, chunks []client.LogChunk) (int, any) {
	next := 0
	s.locked(func() {
		for _, chunk := range chunks {
			if chunk.Seq == len(rec.chunks) {
				rec.chunks = append(rec.chunks, chunk)
			} else if chunk.Seq < len(rec.chunks) && !bytes.Equal(rec.chunks[chunk.Seq].Data, chunk.Data) {
				panic("the same chunk came with other bytes")
			}
		}
		next = len(rec.chunks)
	})
	return 200, client.LogAck{Next: next}
}

func (s *server) finish(rec *record, body []byte) (int, any) {
	state := client.LeaseState{State: "done"}
	s.locked(func() {
		if s.held != nil && s.held.Counting > 0 {
			s.held.Free++
			state.Counted = s.held.Counting
		}
		result := decode[client.LeaseFinish](body)
		rec.finish = &result
		rec.finishes++
	})
	return 200, state
}

func (s *server) release(rec *record, body []byte) (int, any) {
	s.locked(func() {
		release := decode[client.LeaseRelease](body)
		rec.release = &release
		rec.fenced = false
	})
	return 200, client.LeaseState{State: client.Ready}
}

func (s *server) source(rec *record, _ []byte) (int, any) {
	return 200, s.sources[rec.lease.Source.Digest]
}
