package api

import (
	"fmt"
	"net/http"
)

// permission is what a caller needs.
type permission string

// The permissions. A reader, a writer and an admin are people and programs; each may do what those before may.
const (
	permitPublic permission = "public" // no token
	permitReader permission = "reader"
	permitWriter permission = "writer"
	permitAdmin  permission = "admin"
	permitEnrol  permission = "enrol" // an enrolment token
	permitAgent  permission = "agent" // an agent's credential

	permitEnrolOrchestrator permission = "enrol-orchestrator" // an enrolment token of an orchestrator
	permitOrchestrator      permission = "orchestrator"       // an orchestrator's credential
)

// rateClass says what a request costs, and how long it may take.
type rateClass string

// The rate classes.
const (
	classRead   rateClass = "read"
	classWrite  rateClass = "write"
	classAgent  rateClass = "agent"  // never limited: overload must shed load, not leases
	classHeld   rateClass = "held"   // an agent's, which may take long
	classUpload rateClass = "upload" // a body that is not held in memory
	classStream rateClass = "stream" // an answer without an end known beforehand
)

// Limits of request bodies, in bytes.
const (
	noBody       = 0
	smallBody    = 64 << 10
	reportBody   = 1 << 20
	reportsBody  = 8 << 20 // of many leases
	finishBody   = 3 << 20 // a report, and outputs of 256 KiB with each character escaped
	chunkBody    = 4 << 20 // 1 MiB of log in base64, with its segments
	planBody     = 6 << 20 // an Ottofile of 1 MiB, written as JSON, and what a run has
	runBody      = 2 << 20 // 10,000 changed paths, and parameters
	streamedBody = -1      // not held in memory; the handler has a limit of its own
)

// route is one row of the table of everything that Otto answers.
type route struct {
	operation  string
	method     string
	path       string
	permission permission
	body       int64
	class      rateClass
	transition string // the SQL function that the operation calls, for otto_transitions_total; none for reads
}

// pattern is how http.ServeMux knows the route.
func (r route) pattern() string { return r.method + " " + r.path }

// routes is the table. A handler that is not in it cannot be registered, and a row without a handler fails New.
func routes() []route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	return []route{
		{"health-show", get, "/health", permitPublic, noBody, classRead, ""},
		{"health-ready", get, "/health/ready", permitPublic, noBody, classRead, ""},
		{"openapi-json", get, "/openapi.json", permitPublic, noBody, classRead, ""},
		{"openapi-yaml", get, "/openapi.yaml", permitPublic, noBody, classRead, ""},
		{"docs-show", get, "/docs", permitPublic, noBody, classRead, ""},
		{"docs-style", get, "/docs/style.css", permitPublic, noBody, classRead, ""},

		{"self-show", get, "/v1/self", permitReader, noBody, classRead, ""},
		{"token-create", post, "/v1/tokens", permitAdmin, smallBody, classWrite, "token_create"},
		{"token-list", get, "/v1/tokens", permitAdmin, noBody, classRead, ""},
		{"token-revoke", del, "/v1/tokens/{token}", permitAdmin, noBody, classWrite, "token_revoke"},
		{"pool-create", post, "/v1/pools", permitAdmin, smallBody, classWrite, "pool_create"},
		{"pool-list", get, "/v1/pools", permitReader, noBody, classRead, ""},
		{"pool-allow", post, "/v1/pools/{pool}/allow", permitAdmin, smallBody, classWrite, "pool_allow"},
		{"pool-deny", post, "/v1/pools/{pool}/deny", permitAdmin, smallBody, classWrite, "pool_deny"},
		{"project-list", get, "/v1/projects", permitReader, noBody, classRead, ""},

		{"source-upload", put, "/v1/sources/{digest}", permitWriter, streamedBody, classUpload, "source_store"},
		{"source-show", get, "/v1/sources/{digest}", permitReader, noBody, classRead, ""},
		{"plan-create", post, "/v1/plans", permitWriter, planBody, classWrite, "plan_store"},
		{"plan-validate", post, "/v1/plans/validate", permitReader, planBody, classWrite, ""},
		{"plan-show", get, "/v1/plans/{digest}", permitReader, noBody, classRead, ""},

		{"run-create", post, "/v1/runs", permitWriter, runBody, classWrite, "run_create"},
		{"run-list", get, "/v1/runs", permitReader, noBody, classRead, ""},
		{"run-show", get, "/v1/runs/{run}", permitReader, noBody, classRead, ""},
		{"run-plan-show", get, "/v1/runs/{run}/plan", permitReader, noBody, classRead, ""},
		{"run-abort", post, "/v1/runs/{run}/abort", permitWriter, smallBody, classWrite, "run_abort"},
		{"run-cancel", post, "/v1/runs/{run}/cancel", permitWriter, smallBody, classWrite, "run_abort"},
		{"run-rerun", post, "/v1/runs/{run}/rerun", permitWriter, smallBody, classWrite, "run_rerun"},
		{"run-events", get, "/v1/runs/{run}/events", permitReader, noBody, classStream, ""},
		{"event-list", get, "/v1/events", permitReader, noBody, classStream, ""},
		{"task-show", get, "/v1/tasks/{task}", permitReader, noBody, classRead, ""},
		{"task-why", get, "/v1/tasks/{task}/why", permitReader, noBody, classRead, ""},
		{"task-abort", post, "/v1/tasks/{task}/abort", permitWriter, smallBody, classWrite, "task_abort"},
		{"task-log", get, "/v1/tasks/{task}/log", permitReader, noBody, classStream, ""},
		{"lease-list", get, "/v1/leases", permitReader, noBody, classRead, ""},

		{"agent-enrol", post, "/v1/agents", permitEnrol, smallBody, classAgent, "agent_enrol"},
		{"agent-list", get, "/v1/agents", permitReader, noBody, classRead, ""},
		{"agent-show", get, "/v1/agents/{agent}", permitReader, noBody, classRead, ""},
		{"agent-disable", post, "/v1/agents/{agent}/disable", permitAdmin, smallBody, classWrite, "agent_disable"},
		{"agent-enable", post, "/v1/agents/{agent}/enable", permitAdmin, smallBody, classWrite, "agent_disable"},

		{"agent-hello", post, "/v1/agent/hello", permitAgent, smallBody, classAgent, "agent_hello"},
		{"agent-offer", post, "/v1/agent/offers", permitAgent, smallBody, classAgent, "agent_offer"},
		{"agent-heartbeat", post, "/v1/agent/heartbeat", permitAgent, reportBody, classAgent, "lease_renew"},
		{"agent-bye", post, "/v1/agent/bye", permitAgent, smallBody, classAgent, "agent_bye"},
		{"lease-take", post, "/v1/agent/lease", permitAgent, smallBody, classHeld, ""},
		{"lease-report", post, "/v1/agent/reports", permitAgent, reportsBody, classAgent, ""},
		{"lease-start", post, "/v1/leases/{lease}/start", permitAgent, reportBody, classAgent, "task_start"},
		{"lease-steps", post, "/v1/leases/{lease}/steps", permitAgent, reportBody, classAgent, "step_report"},
		{"lease-log", post, "/v1/leases/{lease}/log", permitAgent, chunkBody, classAgent, "log_append"},
		{"lease-log-frames", post, "/v1/leases/{lease}/log/frames", permitAgent, chunkBody, classAgent, "log_append"},
		{"lease-finish", post, "/v1/leases/{lease}/finish", permitAgent, finishBody, classAgent, "task_finish"},
		{"lease-release", post, "/v1/leases/{lease}/release", permitAgent, reportBody, classAgent, "task_release"},
		{"lease-source", get, "/v1/leases/{lease}/source", permitAgent, noBody, classHeld, ""},

		{"orchestrator-enrol", post, "/v1/orchestrators", permitEnrolOrchestrator, reportBody, classAgent, "orchestrator_enrol"},
		{"orchestrator-list", get, "/v1/orchestrators", permitReader, noBody, classRead, ""},
		{"orchestrator-show", get, "/v1/orchestrators/{orchestrator}", permitReader, noBody, classRead, ""},
		{"orchestrator-disable", post, "/v1/orchestrators/{orchestrator}/disable", permitAdmin, smallBody, classWrite, "orchestrator_disable"},
		{"orchestrator-enable", post, "/v1/orchestrators/{orchestrator}/enable", permitAdmin, smallBody, classWrite, "orchestrator_disable"},
		{"auction-list", get, "/v1/auctions", permitReader, noBody, classRead, ""},

		{"orchestrator-hello", post, "/v1/orchestrator/hello", permitOrchestrator, reportBody, classAgent, "orchestrator_hello"},
		{"orchestrator-heartbeat", post, "/v1/orchestrator/heartbeat", permitOrchestrator, smallBody, classAgent, "orchestrator_beat"},
		{"orchestrator-bye", post, "/v1/orchestrator/bye", permitOrchestrator, smallBody, classAgent, "orchestrator_bye"},
		{"orchestrator-demand", get, "/v1/orchestrator/demand", permitOrchestrator, noBody, classHeld, ""},
		{"enrolment-create", post, "/v1/orchestrator/enrolments", permitOrchestrator, smallBody, classAgent, "enrolment_create"},
		{"bid-place", post, "/v1/orchestrator/bids", permitOrchestrator, smallBody, classAgent, "bid_place"},
		{"award-take", post, "/v1/awards/{award}/take", permitOrchestrator, smallBody, classAgent, "award_take"},
		{"award-return", post, "/v1/awards/{award}/return", permitOrchestrator, smallBody, classAgent, "award_return"},
	}
}

// table is the routes by operation and by pattern, and which of them have a handler.
type table struct {
	byOperation map[string]route
	byPattern   map[string]route
	handled     map[string]bool
	wrong       []error
}

func newTable(rows []route) *table {
	t := &table{byOperation: map[string]route{}, byPattern: map[string]route{}, handled: map[string]bool{}}
	for _, row := range rows {
		t.byOperation[row.operation] = row
		t.byPattern[row.pattern()] = row
	}
	if len(t.byOperation) != len(rows) || len(t.byPattern) != len(rows) {
		t.wrong = append(t.wrong, fmt.Errorf("two rows of the route table share an operation or a pattern"))
	}
	return t
}

// take gives the row of an operation to its one handler.
func (t *table) take(operation string) (route, bool) {
	row, ok := t.byOperation[operation]
	switch {
	case !ok:
		t.wrong = append(t.wrong, fmt.Errorf("operation %s has a handler and no row", operation))
	case t.handled[operation]:
		t.wrong = append(t.wrong, fmt.Errorf("operation %s has two handlers", operation))
		return row, false
	}
	t.handled[operation] = true
	return row, ok
}

// check says what is wrong: handlers without a row, and rows without a handler.
func (t *table) check() []error {
	wrong := t.wrong
	for operation := range t.byOperation {
		if !t.handled[operation] {
			wrong = append(wrong, fmt.Errorf("operation %s has a row and no handler", operation))
		}
	}
	return wrong
}
