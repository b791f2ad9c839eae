package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/client"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{})
	n.run(manyTasks(3))
	finish(t, agent, begin(t, agent))
	n.do("reader", "GET", "/v1/runs/77", nil)
	n.do("reader", "GET", "/nowhere", nil)
	w := httptest.NewRecorder()
	n.api.MetricsHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`otto_transitions_total{name="run_create"} 1`,
		`otto_transitions_total{name="task_finish"} 1`,
		`otto_transitions_total{name="task_lease"} 1`,
		`otto_http_requests_total{operation="run-create",status="201"} 1`,
		`otto_http_requests_total{operation="run-show",status="404"} 1`,
		`otto_http_requests_total{operation="none",status="404"} 1`,
		`otto_dispatcher_granted_total 1`,
		`otto_tasks_ready 2`,
		`otto_agents_online 1`,
		`otto_dispatcher_waiters 0`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("%s is missing in\n%s", want, w.Body)
		}
	}
	// With the database away the rest is still there.
	w = httptest.NewRecorder()
	unconnected(t).MetricsHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != 200 || strings.Contains(w.Body.String(), "otto_tasks_ready") || !strings.Contains(w.Body.String(), "otto_streams 0") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Users that hold every connection of their pool cost no agent its heartbeat.
func TestAgentsHaveConnectionsOfTheirOwn(t *testing.T) {
	t.Parallel()
	n := start(t, func(c *Config) {
		config := c.Pool.Config()
		config.MaxConns = 2
		pool, err := pgxpool.NewWithConfig(context.WithoutCancel(t.Context()), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		c.AgentPool = pool
	})
	agent, _ := n.enrol(client.AgentOffer{})
	n.run(smallOttofile)
	for range n.db.App.Config().MaxConns {
		held, err := n.db.App.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer held.Release()
	}
	lease := begin(t, agent)
	if beat, err := agent.AgentHeartbeat(t.Context(), client.Heartbeat{Leases: []string{lease.ID}}); err != nil || len(beat.Fenced) != 0 {
		t.Error(beat, err)
	}
	finish(t, agent, lease)
}
