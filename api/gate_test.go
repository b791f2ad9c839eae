package api

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db/dbtest"
)

// TestPermissions tries every route with every role. What a caller may not do is refused with 401 or 403; what it may do
// gets any other answer, mostly that the thing does not exist.
func TestPermissions(t *testing.T) {
	t.Parallel()
	n := start(t)
	_, enrolled := n.enrol(client.AgentOffer{})
	n.tokens["agent"] = enrolled.Token
	orchestrator, err := n.client("enrol-orchestrator").OrchestratorEnrol(t.Context(), client.OrchestratorOffer{Name: "o", Templates: []client.Template{}})
	if err != nil {
		t.Fatal(err)
	}
	n.tokens["orchestrator"] = orchestrator.Token
	allowed := map[permission]string{
		permitPublic: "", permitReader: "reader writer admin", permitWriter: "writer admin",
		permitAdmin: "admin", permitEnrol: "enrol", permitAgent: "agent", permitEnrolOrchestrator: "enrol-orchestrator", permitOrchestrator: "orchestrator",
	}
	for _, row := range routes() {
		for _, role := range []string{"none", "reader", "writer", "admin", "enrol", "agent", "enrol-orchestrator", "orchestrator"} {
			r := n.do(strings.Replace(role, "none", "", 1), row.method, concrete(row.path), bodyFor(row))
			may := row.permission == permitPublic || slices.Contains(strings.Fields(allowed[row.permission]), role)
			refusal := r.status == http.StatusUnauthorized || r.status == http.StatusForbidden
			if refusal == may && !(may && usedUp(row, r)) {
				t.Errorf("%s as %s: status %d %s", row.operation, role, r.status, r.body)
			}
			if !may && role == "none" && r.status != http.StatusUnauthorized {
				t.Errorf("%s without a token: status %d, want 401", row.operation, r.status)
			}
			if r.status >= 500 {
				t.Errorf("%s as %s: status %d %s", row.operation, role, r.status, r.body)
			}
		}
	}
}

// usedUp says whether an enrolment was refused by the database, since its token was used before.
func usedUp(row route, r reply) bool {
	return (row.permission == permitEnrol || row.permission == permitEnrolOrchestrator) && r.status == http.StatusForbidden
}

// concrete fills a path's parameters with things that do not exist.
func concrete(path string) string {
	path = strings.ReplaceAll(path, "{digest}", "sha256:"+strings.Repeat("0", 64))
	path = strings.ReplaceAll(path, "{lease}", "00000000-0000-4000-8000-000000000000")
	return regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "987654")
}

func bodyFor(row route) any {
	switch row.operation {
	case "lease-take":
		return client.LeaseRequest{Free: 0, WaitMS: 1}
	case "agent-hello", "agent-enrol":
		return client.AgentOffer{Name: "x", Version: "1", Capacity: 1}
	case "pool-create":
		return client.PoolCreate{Pool: "default"}
	case "pool-allow", "pool-deny":
		return client.PoolProject{Project: "x"}
	case "token-create":
		return client.TokenCreate{Name: "x", Role: "reader"}
	case "source-upload":
		return []byte("bytes")
	}
	if row.body > 0 {
		return "{}"
	}
	return nil
}

func mustExec(t *testing.T, n *node, sql string, args ...any) {
	t.Helper()
	if _, err := n.db.Owner.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func TestRequestsThatDoNotFit(t *testing.T) {
	t.Parallel()
	n := start(t)
	const writer, runs = "writer", "/v1/runs"
	for _, tt := range []struct {
		name, method, path string
		body               any
		header             []string
		status             int
		code, detail       string
	}{
		{"unknown_path", "GET", "/v2/runs", nil, nil, 404, "not_found", "there is nothing at /v2/runs"},
		{"wrong_method", "PATCH", "/v1/runs/1", "{}", nil, 405, "method_not_allowed", "/v1/runs/1 does not take PATCH"},
		{"too_large", "POST", runs, strings.Repeat(" ", runBody+1), nil, 413, "too_large", "the body of run-create is larger than 2097152 bytes"},
		{"another_media_type", "POST", runs, "{}", []string{"Content-Type", "text/plain"}, 415, "media_type", "body unknown content type: text/plain"},
		{"not_json", "POST", runs, "{", nil, 400, "invalid", "body unexpected end of JSON input"},
		{"no_body", "POST", runs, nil, nil, 400, "invalid", "request body is required"},
		{"unknown_field", "POST", runs, `{"plam":"x"}`, nil, 422, "invalid", "body.plam unexpected property"},
		{"unknown_parameter", "GET", "/v1/runs?stat=failed", nil, nil, 422, "invalid", "query.stat unknown query parameter"},
		{"not_a_number", "GET", "/v1/tasks/x", nil, nil, 422, "invalid", "path.task invalid integer"},
		{"neither_source_nor_plan", "POST", runs, "{}", nil, 422, "invalid", "a run needs a source or a plan"},
		{"source_is_missing", "POST", runs, client.RunCreate{Source: "sha256:x"}, nil, 404, "not_found", "the source does not exist"},
		{"plan_is_missing", "POST", runs, client.RunCreate{Plan: "sha256:x"}, nil, 404, "not_found", "the plan does not exist"},
		{"project_has_a_bad_name", "POST", runs, client.RunCreate{Project: "a b", Plan: "x"}, nil, 422, "invalid",
			"a project's name has letters, digits and ._/- and at most 100 characters"},
		{"zero_byte", "POST", runs, `{"project":"a\u0000","plan":"x"}`, nil, 422, "invalid",
			"the request contains a character that cannot be stored, such as a zero byte"},
		{"bad_state", "GET", "/v1/runs?state=sideways", nil, nil, 422, "invalid", `"sideways" is not a state of a run`},
		{"bad_cursor", "GET", "/v1/runs?cursor=%2525", nil, nil, 422, "invalid", `the cursor "%25" is not one of this server`},
		{"bad_run", "GET", "/v1/runs/first", nil, nil, 422, "invalid", `"first" is not a run`},
		{"run_is_missing", "GET", "/v1/runs/77", nil, nil, 404, "not_found", "run 77 does not exist"},
		{"no_run_at_all", "GET", "/v1/runs/latest", nil, nil, 404, "not_found", "a run does not exist"},
		{"abort_of_a_missing_run", "POST", "/v1/runs/77/abort", nil, nil, 404, "not_found", "run 77 does not exist"},
		{"task_is_missing", "GET", "/v1/tasks/77", nil, nil, 404, "not_found", "task 77 does not exist"},
		{"log_of_a_missing_task", "GET", "/v1/tasks/77/log", nil, nil, 404, "not_found", "task 77 does not exist"},
		{"agent_is_missing", "GET", "/v1/agents/77", nil, nil, 404, "not_found", "agent 77 does not exist"},
		{"plan_show_of_a_missing_plan", "GET", "/v1/plans/sha256:" + strings.Repeat("0", 64), nil, nil, 404, "not_found",
			"plan sha256:" + strings.Repeat("0", 64) + " does not exist"},
		{"another_site", "POST", runs, "{}", []string{"Sec-Fetch-Site", "cross-site"}, 403, "forbidden", "a page of another site sent this request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := n.do(writer, tt.method, tt.path, tt.body, tt.header...)
			if p := refused(t, r, tt.status, tt.code); p.Detail != tt.detail {
				t.Errorf("got %q, want %q", p.Detail, tt.detail)
			}
			if r.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(r.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
				t.Errorf("the security headers are missing: %v", r.header)
			}
		})
	}
}

func TestTooManyRequests(t *testing.T) {
	t.Parallel()
	n := start(t, func(c *Config) { c.Limits.Rate, c.Limits.Burst = 0.001, 3 })
	for range 3 {
		into[client.Self](t, n.do("reader", "GET", "/v1/self", nil), 200)
	}
	r := n.do("reader", "GET", "/v1/self", nil)
	refused(t, r, 429, "too_many_requests")
	if r.header.Get("Retry-After") == "" {
		t.Error("Retry-After is missing")
	}
	into[client.Self](t, n.do("admin", "GET", "/v1/self", nil), 200) // another token has its own bucket
	agent, _ := n.enrol(client.AgentOffer{})
	for range 20 {
		if _, err := agent.AgentHeartbeat(t.Context(), client.Heartbeat{Leases: []string{}}); err != nil {
			t.Fatalf("an agent was limited: %v", err)
		}
	}
}

func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	database := dbtest.Open(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	pool, err := pgxpool.New(t.Context(), fmt.Sprintf("postgres://x@%s/x?connect_timeout=1", listener.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	n := startOn(t, database, newStore(t), func(c *Config) { c.Pool, c.AgentPool, c.DatabaseURL = pool, pool, "" })
	secret, _ := NewToken(kindUser)
	r := n.do("", "GET", "/v1/self", nil, "Authorization", "Bearer "+secret)
	p := refused(t, r, 503, "unavailable")
	if r.header.Get("Retry-After") == "" || p.Detail != "the database cannot be used now" {
		t.Errorf("%q, Retry-After %q", p.Detail, r.header.Get("Retry-After"))
	}
	refused(t, n.do("", "GET", "/health/ready", nil), 503, "unavailable")
	into[client.Health](t, n.do("", "GET", "/health", nil), 200)
}

func TestReadyNamesTheMissingSchema(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), dbtest.Empty(t))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	n := startOn(t, dbtest.Open(t), newStore(t), func(c *Config) { c.Pool, c.AgentPool, c.DatabaseURL = pool, pool, "" })
	if p := refused(t, n.do("", "GET", "/health/ready", nil), 503, "unavailable"); p.Detail != "the database has no schema of Otto" {
		t.Error(p.Detail)
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	n := start(t)
	into[client.Health](t, n.do("", "GET", "/health/ready", nil), 200)
	n.api.Stop()
	n.api.Stop()
	refused(t, n.do("", "GET", "/health/ready", nil), 503, "unavailable")
}

func TestServerBeats(t *testing.T) {
	t.Parallel()
	n := start(t)
	eventually(t, func() bool {
		var count int
		err := n.db.App.QueryRow(t.Context(), "select count(*) from servers where name = $1", n.api.cfg.Name).Scan(&count)
		return err == nil && count == 1
	})
}

// eventually waits for a condition.
func eventually(t *testing.T, met func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !met() {
		if !wait(ctx, 5*time.Millisecond) {
			t.Fatal("it did not happen in time")
		}
	}
}

// The database's disk is full: the answer says so, and nothing is half stored.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	n := start(t)
	if _, err := n.db.Owner.Exec(t.Context(), `create function no_room() returns trigger language plpgsql as
		$$ begin raise exception 'could not extend file: No space left on device' using errcode = 'disk_full'; end $$;
		create trigger no_room before insert on plan_tasks for each row execute function no_room()`); err != nil {
		t.Fatal(err)
	}
	p := refused(t, n.do("writer", "POST", "/v1/plans", client.PlanCreate{Ottofile: smallOttofile}), 503, "unavailable")
	if p.Detail != "the disk of the database is full: nothing can be stored" || p.Hint == "" {
		t.Errorf("it says %q, hint %q", p.Detail, p.Hint)
	}
	var plans int
	if err := n.db.Owner.QueryRow(t.Context(), "select count(*) from plans").Scan(&plans); err != nil || plans != 0 {
		t.Errorf("%d plans are stored, %v", plans, err)
	}
}
