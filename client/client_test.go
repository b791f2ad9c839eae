package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// answer serves one fixed answer and returns a client for it.
func answer(t *testing.T, serve http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	c, err := New(Config{URL: server.URL + "/", Token: "otto_agent_x", UserAgent: "otto-agent/1"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCallSendsTokenAndJSON(t *testing.T) {
	t.Parallel()
	c := answer(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got := []string{r.Method, r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("User-Agent"), string(body)}
		want := []string{"POST", "/v1/agent/heartbeat", "Bearer otto_agent_x", "otto-agent/1", `{"leases":["a"],"draining":true}`}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		_, _ = w.Write([]byte(`{"aborts":[{"lease":"a","level":"kill","reason":"r"}],"fenced":["b"],"new_field":1}`))
	})
	got, err := c.AgentHeartbeat(t.Context(), Heartbeat{Leases: []string{"a"}, Draining: true})
	if err != nil {
		t.Fatal(err)
	}
	want := HeartbeatAnswer{Aborts: []Abort{{Lease: "a", Level: "kill", Reason: "r"}}, Fenced: []string{"b"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	problem := map[string]string{"Content-Type": "application/problem+json"}
	tests := []struct {
		name, body string
		header     map[string]string
		status     int
		text       string
		fenced     bool
		retry      time.Duration
	}{
		{"fenced", `{"title":"Conflict","status":409,"detail":"lease is lost","code":"fenced"}`, problem, 409, "lease is lost", true, 0},
		{"another_conflict", `{"detail":"task 42 is succeeded: cannot abort","code":"state","hint":"otto rerun 42"}`, problem, 409,
			"task 42 is succeeded: cannot abort", false, 0},
		{"says_when_to_retry", ``, map[string]string{"Retry-After": "7"}, 503, "server answered 503 Service Unavailable", false, 7 * time.Second},
		{"retry_date_is_by_the_servers_clock", ``, map[string]string{"Date": "Mon, 01 Jan 2001 00:00:00 GMT",
			"Retry-After": "Mon, 01 Jan 2001 00:00:09 GMT"}, 429, "server answered 429 Too Many Requests", false, 9 * time.Second},
		{"a_proxys_page", `<h1>oops</h1>`, map[string]string{"Content-Type": "text/html"}, 502, "server answered 502 Bad Gateway", false, 0},
		{"broken_json", `{"detail":`, problem, 400, "server answered 400 Bad Request", false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := answer(t, func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range tt.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			err := c.AgentBye(t.Context())
			var refusal *Error
			if !errors.As(err, &refusal) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if err.Error() != tt.text || IsFenced(err) != tt.fenced || !IsStatus(err, tt.status) || refusal.RetryAfter != tt.retry {
				t.Errorf("got %q fenced=%v %+v", err, IsFenced(err), refusal)
			}
		})
	}
}

func TestCallSaysWhyItWasCancelled(t *testing.T) {
	t.Parallel()
	c := answer(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	why := errors.New("draining")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := c.LeaseTake(ctx, LeaseRequest{}); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func TestNewRefusesOtherAddresses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "localhost:8080", "ftp://x", "/v1", "http://"} {
		if _, err := New(Config{URL: address}); err == nil {
			t.Errorf("%q was accepted", address)
		}
	}
}
