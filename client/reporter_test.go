package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// What is said while a request is under way goes out in the next one, and each hears his own answer.
func TestReporterSendsTogether(t *testing.T) {
	t.Parallel()
	var requests []LeaseReports
	begin := make(chan struct{})
	c := answer(t, func(w http.ResponseWriter, r *http.Request) {
		var in LeaseReports
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.URL.Path != "/v1/agent/reports" {
			t.Error(r.URL.Path, err)
		}
		<-begin
		requests = append(requests, in) // one at a time
		var out LeaseReportsAnswer
		for _, s := range in.Starts {
			out.Starts = append(out.Starts, LeaseResult{LeaseState: LeaseState{ID: s.Lease, State: "running"}})
		}
		for _, l := range in.Logs {
			out.Logs = append(out.Logs, LeaseLogResult{ID: l.Lease, LogAck: LogAck{l.Seq + 1}})
		}
		for _, f := range in.Finishes {
			result := LeaseResult{LeaseState: LeaseState{ID: f.Lease, State: "succeeded"}}
			if f.Lease == "lost" {
				result.Problem = &Error{Status: 409, Code: CodeFenced}
			}
			out.Finishes = append(out.Finishes, result)
		}
		_ = json.NewEncoder(w).Encode(out)
	})
	r := NewReporter(c)
	var wg sync.WaitGroup
	begun := make(chan struct{})
	wg.Go(func() {
		close(begun)
		if s, err := r.LeaseStart(t.Context(), "first", LeaseStart{}); s.State != "running" || err != nil {
			t.Error(s, err)
		}
	})
	<-begun
	for { // until the first is on its way
		r.mu.Lock()
		sent := r.sending && len(r.starts) == 0
		r.mu.Unlock()
		if sent {
			break
		}
	}
	for i := range 8 {
		wg.Go(func() {
			if s, err := r.LeaseStart(t.Context(), fmt.Sprint("s", i), LeaseStart{}); s.ID != fmt.Sprint("s", i) || err != nil {
				t.Error(s, err)
			}
		})
		wg.Go(func() {
			if ack, err := r.LeaseLog(t.Context(), fmt.Sprint("l", i), LogChunk{Seq: i}); ack.Next != i+1 || err != nil {
				t.Error(ack, err)
			}
		})
		wg.Go(func() {
			if s, err := r.LeaseFinish(t.Context(), fmt.Sprint("f", i), LeaseFinish{}); s.ID != fmt.Sprint("f", i) || err != nil {
				t.Error(s, err)
			}
		})
	}
	wg.Go(func() {
		if _, err := r.LeaseFinish(t.Context(), "lost", LeaseFinish{}); !IsFenced(err) {
			t.Error(err)
		}
	})
	for {
		r.mu.Lock()
		waiting := len(r.starts) + len(r.logs) + len(r.finishes)
		r.mu.Unlock()
		if waiting == 25 {
			break
		}
	}
	close(begin)
	wg.Wait()
	r.Stop()
	if len(requests) != 2 || len(requests[0].Starts) != 1 || len(requests[1].Starts) != 8 || len(requests[1].Finishes) != 9 {
		t.Errorf("%d requests: %+v", len(requests), requests)
	}
}

// A server that is older takes reports one by one.
func TestReporterWithOlderServer(t *testing.T) {
	t.Parallel()
	var paths sync.Map
	c := answer(t, func(w http.ResponseWriter, r *http.Request) {
		paths.Store(r.URL.Path, true)
		if r.URL.Path == "/v1/agent/reports" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(`{"id":"a","task":1,"state":"running","next":3}`))
	})
	r := NewReporter(c)
	for range 2 {
		if s, err := r.LeaseStart(t.Context(), "a", LeaseStart{}); s.State != "running" || err != nil {
			t.Error(s, err)
		}
	}
	if ack, err := r.LeaseLog(t.Context(), "c", LogChunk{}); ack.Next != 3 || err != nil {
		t.Error(ack, err)
	}
	if s, err := r.LeaseFinish(t.Context(), "b", LeaseFinish{}); s.State != "running" || err != nil {
		t.Error(s, err)
	}
	for _, path := range []string{"/v1/leases/a/start", "/v1/leases/c/log", "/v1/leases/b/finish"} {
		if _, ok := paths.Load(path); !ok {
			t.Errorf("%s was not called", path)
		}
	}
}
