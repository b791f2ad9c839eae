package main

import (
	"encoding/json"
	"net/http"
	"slices"
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

// begin notes what a request says of leases before it is sent; nothing if it is not about leases.
func (h *history) begin(path string, body []byte) []*op {
	if path == "/v1/agent/lease" {
		return []*op{{Verb: "grant"}}
	}
	if path == "/v1/agent/reports" {
		return h.beginAll(body)
	}
	rest, ok := strings.CutPrefix(path, "/v1/leases/")
	lease, verb, _ := strings.Cut(rest, "/")
	if !ok || verb != "start" && verb != "finish" && verb != "release" {
		return nil
	}
	var report struct{ Epoch int }
	_ = json.Unmarshal(body, &report) // epoch 0 fits no lease
	return []*op{h.say(verb, lease, report.Epoch)}
}

// beginAll notes the reports of a request in the order of their answers: starts, then results.
func (h *history) beginAll(body []byte) (ops []*op) {
	var reports client.LeaseReports
	_ = json.Unmarshal(body, &reports) // what cannot be read is refused whole
	for _, r := range reports.Starts {
		ops = append(ops, h.say("start", r.Lease, r.Epoch))
	}
	for _, r := range reports.Finishes {
		ops = append(ops, h.say("finish", r.Lease, r.Epoch))
	}
	return ops
}

// say notes a report whose answer is not known yet.
func (h *history) say(verb, lease string, epoch int) *op {
	o := &op{Verb: verb, Lease: lease, Epoch: epoch, Call: time.Since(h.began), Return: forever, Result: unknown}
	h.note(o)
	return o
}

func (h *history) note(o *op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, o)
}

// end notes the answer.
func (h *history) end(path string, ops []*op, got answer, err error) {
	switch {
	case len(ops) == 0:
	case ops[0].Verb == "grant":
		h.granted(got, err)
	case err == nil && path == "/v1/agent/reports":
		h.heard(ops, resultsOf(got, len(ops)))
	case err == nil:
		h.heard(ops, []result{resultOf(got)})
	}
}

// heard notes what is known of reports now.
func (h *history) heard(ops []*op, results []result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, o := range ops {
		if o.Result = results[i]; o.Result != unknown {
			o.Return = time.Since(h.began)
		}
	}
}

// resultsOf reads the answers to so many reports. A request that was refused whole did nothing of what it says.
func resultsOf(got answer, reports int) []result {
	var a client.LeaseReportsAnswer
	switch {
	case got.status >= 300:
		return slices.Repeat([]result{resultOf(got)}, reports)
	case json.Unmarshal(got.body, &a) != nil || len(a.Starts)+len(a.Finishes) != reports:
		return slices.Repeat([]result{unknown}, reports)
	}
	var results []result
	for _, r := range slices.Concat(a.Starts, a.Finishes) {
		switch p := r.Problem; {
		case p == nil:
			results = append(results, accepted)
		case p.Status >= 500 || p.Status == http.StatusTooManyRequests:
			results = append(results, unknown)
		case p.Code == client.CodeFenced:
			results = append(results, fenced)
		default:
			results = append(results, refused)
		}
	}
	return results
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
