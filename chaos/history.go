package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ottoci/otto/client"
)

// history is what callers of the agent protocol asked about leases and were answered, with the times: what a porcupine
// check needs. See linear.go.
type history struct {
	began time.Time

	mu  sync.Mutex
	ops []*op
}

// op is one request about a lease. Its Return is forever if nobody knows the answer.
type op struct {
	Verb         string // grant, start, finish or release
	Lease        string
	Epoch        int
	Call, Return time.Duration
	Result       result
}

type result string

const (
	accepted result = "accepted"
	fenced   result = "fenced"
	refused  result = "refused" // for another reason
	unknown  result = "unknown" // no answer, or none that says what happened

	forever = time.Duration(1 << 62)
)

func newHistory() *history { return &history{began: time.Now()} }

// begin notes a request before it is sent; nil if it is not about a lease.
func (h *history) begin(path string, body []byte) *op {
	o := &op{Call: time.Since(h.began), Return: forever, Result: unknown}
	if path == "/v1/agent/lease" {
		o.Verb = "grant"
		return o
	}
	rest, ok := strings.CutPrefix(path, "/v1/leases/")
	o.Lease, o.Verb, _ = strings.Cut(rest, "/")
	if !ok || o.Verb != "start" && o.Verb != "finish" && o.Verb != "release" {
		return nil
	}
	var report struct{ Epoch int }
	_ = json.Unmarshal(body, &report) // epoch 0 fits no lease
	o.Epoch = report.Epoch
	h.note(o)
	return o
}

func (h *history) note(o *op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, o)
}

// end notes the answer.
func (h *history) end(o *op, got answer, err error) {
	switch {
	case o == nil:
	case o.Verb == "grant":
		h.granted(got, err)
	case err == nil:
		h.mu.Lock()
		defer h.mu.Unlock()
		if o.Result = resultOf(got); o.Result != unknown {
			o.Return = time.Since(h.began)
		}
	}
}

// granted notes each lease of an answer. It may have been granted at any time before: a lost answer is repeated.
func (h *history) granted(got answer, err error) {
	var a client.LeaseAnswer
	if err != nil || got.status != http.StatusOK || json.Unmarshal(got.body, &a) != nil {
		return
	}
	for _, l := range a.Leases {
		h.note(&op{Verb: "grant", Lease: l.ID, Epoch: l.Epoch, Return: time.Since(h.began), Result: accepted})
	}
}

// resultOf reads an answer. After a 5xx or 429 nobody knows.
func resultOf(got answer) result {
	var refusal struct{ Code string }
	switch {
	case got.status < 300:
		return accepted
	case got.status >= 500 || got.status == http.StatusTooManyRequests || got.status == http.StatusRequestTimeout:
		return unknown
	case json.Unmarshal(got.body, &refusal) == nil && refusal.Code == "fenced":
		return fenced
	}
	return refused
}

// all gives the operations so far.
func (h *history) all() []op {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]op, 0, len(h.ops))
	for _, o := range h.ops {
		out = append(out, *o)
	}
	return out
}
