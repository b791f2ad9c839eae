package transitions_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ottoci/otto/db"
)

var update = flag.Bool("update", false, "write matrix.golden anew")

var (
	runStates   = []string{"pending", "running", "blocked", "aborting", "succeeded", "unstable", "failed", "aborted", "skipped"}
	taskStates  = []string{"waiting", "blocked", "ready", "scheduled", "provisioning", "running", "quarantined", "succeeded", "unstable", "failed", "aborted", "skipped"}
	agentStates = []string{"online", "draining", "offline", "disabled"}
)

// A subject is a run of one task in some state, with the lease that the task has or had.
type subject struct {
	run, task, agent int64
	lease            uuid.UUID
	award            uuid.UUID // of a task that is provisioning
	orchestrator     int64     // whose it is
}

// The matrix calls every transition from every state, and writes down what came of it. matrix.golden is the
// specification of the state machine: a change of it is a change of the machine.
func TestMatrix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := matrix{world: w, plan: w.plan("stages: [{stage: s, steps: [{sh: a}]}]")}
	m.create()
	m.runs()
	m.tasks()
	m.follow()
	m.rules()
	m.agents()
	m.pools()
	m.orchestrators()
	m.auctions()
	if *update {
		if err := os.WriteFile("matrix.golden", []byte(m.out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("matrix.golden")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.out.String(); got != string(want) {
		t.Errorf("the state machine changed (if that is meant: go test ./transitions -run Matrix -update, and read the diff):\n%s", got)
	}
}

type matrix struct {
	*world
	plan string
	out  strings.Builder
}

func (m *matrix) create() {
	source := "sha256:" + strings.Repeat("0", 64)
	must[db.Source](m.t)(m.q.SourceStore(m.ctx(), db.SourceStoreParams{Digest: source, Actor: "t"}))
	m.exec("delete from events")
	run, err := m.q.RunCreate(m.ctx(), db.RunCreateParams{Project: "p", Source: &source, Actor: "t"})
	m.write("run_create", "run", "–", subject{}, err, "select state from runs where id = $1", run.ID)
	m.exec("delete from runs where id = $1", run.ID)
}

func (m *matrix) runs() {
	for _, move := range []struct {
		name string
		call func(s subject) error
	}{
		{"run_plan", func(s subject) error {
			_, err := m.q.RunPlan(m.ctx(), db.RunPlanParams{Run: s.run, Plan: m.plan, Actor: "t"})
			return err
		}},
		{"run_fail", func(s subject) error {
			_, err := m.q.RunFail(m.ctx(), db.RunFailParams{Run: s.run, Reason: "r", Actor: "t"})
			return err
		}},
		{"run_abort", func(s subject) error {
			_, err := m.q.RunAbort(m.ctx(), db.RunAbortParams{Run: s.run, Actor: "t"})
			return err
		}},
		{"run_rerun", func(s subject) error {
			_, err := m.q.RunRerun(m.ctx(), db.RunRerunParams{Run: s.run, Actor: "t"})
			return err
		}},
	} {
		for _, from := range runStates {
			s := m.arrange(from, "")
			m.write(move.name, "run", from, s, move.call(s), "select state from runs where id = $1", s.run)
			m.exec("delete from runs where plan_digest = $1", m.plan)
		}
	}
}

func (m *matrix) tasks() {
	finish := func(outcome string) func(s subject) error {
		return func(s subject) error {
			_, err := m.tryFinish(held{Lease: db.Lease{ID: s.lease, Epoch: 1, AgentID: s.agent}}, outcome)
			return err
		}
	}
	interrupt := func(why string) func(s subject) error {
		return func(s subject) error {
			m.exec("update leases set expires_at = '2000-01-01', start_by = '2000-01-01' where id = $1", s.lease)
			_, err := m.q.TaskInterrupt(m.ctx(), db.TaskInterruptParams{Lease: s.lease, Epoch: 1, Why: why, Actor: "t"})
			return err
		}
	}
	for _, move := range []struct {
		name string
		call func(s subject) error
	}{
		{"task_lease", func(s subject) error {
			_, err := m.q.TaskLease(m.ctx(), db.TaskLeaseParams{Slots: []int64{s.agent}, Actor: "t"})
			return err
		}},
		{"task_start", func(s subject) error {
			_, err := m.tryStart(held{Lease: db.Lease{ID: s.lease, Epoch: 1, AgentID: s.agent}})
			return err
		}},
		{"step_report", func(s subject) error {
			_, err := m.q.StepReport(m.ctx(), db.StepReportParams{Lease: s.lease, Epoch: 1, Agent: s.agent, Steps: json.RawMessage(`[{"index": 0, "state": "succeeded", "exit_code": 0}]`), Actor: "t"})
			return err
		}},
		{"task_finish succeeded", finish("succeeded")},
		{"task_finish unstable", finish("unstable")},
		{"task_finish failed", finish("failed")},
		{"task_finish aborted", finish("aborted")},
		{"task_interrupt expired", interrupt("expired")},
		{"task_interrupt not_started", interrupt("not_started")},
		{"task_release", func(s subject) error {
			_, err := m.q.TaskRelease(m.ctx(), db.TaskReleaseParams{Lease: s.lease, Epoch: 1, Agent: s.agent, Actor: "t"})
			return err
		}},
		{"task_abort", func(s subject) error {
			_, err := m.q.TaskAbort(m.ctx(), db.TaskAbortParams{Task: s.task, Actor: "t"})
			return err
		}},
		{"task_quarantine", func(s subject) error {
			_, err := m.q.TaskQuarantine(m.ctx(), db.TaskQuarantineParams{Task: s.task, Actor: "t", Reason: "r"})
			return err
		}},
		{"task_starve", func(s subject) error {
			m.exec("update tasks set ready_at = '2000-01-01' where id = $1", s.task)
			m.exec("update agents set state = 'offline'")
			m.exec("update orchestrators set state = 'offline'")
			_, err := m.q.TaskStarve(m.ctx(), db.TaskStarveParams{Task: s.task, Actor: "t"})
			return err
		}},
	} {
		for _, from := range taskStates {
			s := m.arrange("running", from)
			m.write(move.name, "task", from, s, move.call(s), "select state from tasks where id = $1", s.task)
			m.exec("delete from runs where id = $1", s.run)
		}
	}
}

// follow writes what a result does to the run, to the stage and to what comes after, in the same transaction.
func (m *matrix) follow() {
	plan := m.world.plan(`stages: [{stage: a, steps: [{sh: a}]}, {stage: b, steps: [{sh: b}]}]`)
	agent := m.agent(`{}`)
	for _, outcome := range []string{"succeeded", "unstable", "failed", "aborted"} {
		for _, after := range []struct{ name, entity, query string }{
			{"task_finish " + outcome + " (last)", "run", "select state from runs where id = $1"},
			{"task_finish " + outcome, "stage", "select state from stages where run_id = $1 order by index limit 1"},
			{"task_finish " + outcome + " (before)", "stage", "select state from stages where run_id = $1 order by index desc limit 1"},
			{"task_finish " + outcome + " (before)", "task", "select state from tasks where run_id = $1 order by stage_index desc limit 1"},
		} {
			run := m.runPlan(plan)
			if strings.HasSuffix(after.name, "(last)") {
				m.finish(m.leaseOne(agent), "succeeded")
			}
			l := m.leaseOne(agent)
			m.exec("delete from events")
			from := map[bool]string{true: "waiting", false: "running"}[strings.HasSuffix(after.name, "(before)")]
			_, err := m.tryFinish(l, outcome)
			m.write(after.name, after.entity, from, subject{}, err, after.query, run)
			m.exec("delete from runs where id = $1", run)
		}
	}
}

func (m *matrix) agents() {
	for _, move := range []struct {
		name string
		call func(agent int64) error
	}{
		{"agent_hello", func(a int64) error {
			_, err := m.q.AgentHello(m.ctx(), db.AgentHelloParams{Agent: a, Name: "n", Capacity: 1, Offers: json.RawMessage(`{}`), Actor: "t"})
			return err
		}},
		{"agent_offer", func(a int64) error {
			_, err := m.q.AgentOffer(m.ctx(), db.AgentOfferParams{Agent: a, Offers: json.RawMessage(`{"go": "1.26"}`), Actor: "t"})
			return err
		}},
		{"agent_bye", func(a int64) error {
			_, err := m.q.AgentBye(m.ctx(), db.AgentByeParams{Agent: a, Actor: "t"})
			return err
		}},
		{"agent_disable", func(a int64) error {
			_, err := m.q.AgentDisable(m.ctx(), db.AgentDisableParams{Agent: a, Disabled: true, Actor: "t"})
			return err
		}},
		{"agent_enable", func(a int64) error {
			_, err := m.q.AgentDisable(m.ctx(), db.AgentDisableParams{Agent: a, Actor: "t"})
			return err
		}},
	} {
		for _, from := range agentStates {
			a := m.agent(`{}`)
			m.exec("update agents set state = $1 where id = $2", from, a)
			m.exec("delete from events")
			m.write(move.name, "agent", from, subject{}, move.call(a), "select state from agents where id = $1", a)
		}
	}
}

// arrange makes a run in a state, by force, and its task in another; the history begins after that.
func (m *matrix) arrange(run, task string) subject {
	m.t.Helper()
	s := subject{run: m.runPlan(m.plan), agent: m.agent(`{}`), lease: uuid.New()}
	m.exec(`update runs set state = $2, finished_at = case when $2 in ('succeeded', 'unstable', 'failed', 'aborted', 'skipped') then now() end where id = $1`, s.run, run)
	s.task = int64(m.count("select id from tasks where run_id = $1", s.run))
	if run == "pending" {
		m.exec("delete from stages where run_id = $1", s.run)
	}
	if task != "" {
		active := task == "scheduled" || task == "running"
		if task == "provisioning" {
			_, s.orchestrator, s.award = m.sale(s, "completed", "living")
		}
		m.exec(`insert into leases (id, task_id, run_id, agent_id, epoch, granted_at, start_by, expires_at, started_at, ended_at, end_reason)
			values ($1, $2, $3, $4, 1, now(), now() + '1 minute', now() + '1 minute', case when $5 = 'running' then now() end,
			        case when not $6 then now() end, case when not $6 then 'interrupted' end)`, s.lease, s.task, s.run, s.agent, task, active)
		m.exec(`update tasks set epoch = 1, state = $2, lease_id = case when $3 then $4::uuid end, award_id = case when $2 = 'provisioning' then $5::uuid end,
			finished_at = case when $2 in ('succeeded', 'unstable', 'failed', 'aborted', 'skipped') then now() end where id = $1`, s.task, task, active, s.lease, s.award)
		m.exec("insert into steps (task_id, epoch, index, name, allow_failure, state) values ($1, 1, 0, 'a', false, case when $2 = 'running' then 'running' else 'waiting' end)", s.task, task)
		m.judgeSoon()
	}
	m.exec("delete from events")
	m.exec("delete from river.river_job")
	return s
}

// write adds a line: the move, from where, to where or the refusal, the events and the jobs.
func (m *matrix) write(move, entity, from string, s subject, err error, query string, id int64) {
	m.t.Helper()
	var to, events, jobs string
	if scan := m.db.Owner.QueryRow(m.ctx(), query, id).Scan(&to); scan != nil {
		m.t.Fatal(scan)
	}
	row := m.db.Owner.QueryRow(m.ctx(), `select coalesce((select string_agg(kind, ' ' order by id) from events), '-'),
		coalesce((select string_agg(kind, ' ' order by id) from river.river_job), '-')`)
	if scan := row.Scan(&events, &jobs); scan != nil {
		m.t.Fatal(scan)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		to = pg.Code
		if _, refused := db.AsRefusal(err); !refused {
			m.t.Errorf("%s from %s: %v", move, from, err)
		}
	} else if err != nil {
		m.t.Fatal(err)
	}
	fmt.Fprintf(&m.out, "%-30s %-5s %-12s → %-12s event=%s job=%s\n", move, entity, from, to, events, jobs)
}
