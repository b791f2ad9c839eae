package transitions_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/db"
)

// batch writes reports about leases as tasks_start and tasks_finish read them.
func batch(t *testing.T, state string, leases ...held) json.RawMessage {
	t.Helper()
	list := []map[string]any{}
	for _, l := range leases {
		list = append(list, map[string]any{
			"lease": l.ID, "epoch": l.Epoch, "agent": l.AgentID, "actor": "agent",
			"steps": []stepReport{{0, state}}, "log": map[string]any{"chunks": 0, "bytes": 0},
		})
	}
	return encoded(t, list)
}

var none = json.RawMessage("[]")

func (w *world) starts(reports json.RawMessage) ([]db.ReportsTakeRow, error) {
	return w.q.ReportsTake(w.ctx(), db.ReportsTakeParams{Starts: reports, Logs: none, Finishes: none})
}

func (w *world) finishes(reports json.RawMessage) ([]db.ReportsTakeRow, error) {
	return w.q.ReportsTake(w.ctx(), db.ReportsTakeParams{Starts: none, Logs: none, Finishes: reports})
}

// A batch takes each report once, leaves out what is refused, and leaves out what somebody else holds rather than wait.
func TestBatchLeavesOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(4)
	agent, other := w.agent(`{}`), w.agent(`{}`)
	ls, runs := []held{}, []int64{}
	for range 5 {
		runs = append(runs, w.run("steps: [{sh: a}]"))
		ls = append(ls, w.lease(agent, 1)...)
	}
	lost := ls[0] // its task goes to the other agent
	w.expire(lost)
	ls[0] = w.lease(other, 1)[0]
	w.start(ls[0])
	late, foreign, unknown := ls[0], ls[0], ls[0]
	late.Epoch, foreign.AgentID, unknown.ID = 3, agent, uuid.New()
	beating := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
	defer beating.Rollback(w.ctx())
	must[any](t)(beating.Exec(w.ctx(), "update leases set expires_at = expires_at where id = $1", ls[4].ID))

	for what, bad := range map[string]held{"a lost lease": lost, "another attempt": late, "another agent's": foreign, "unknown": unknown} {
		both := db.ReportsTakeParams{Starts: batch(t, "running", bad), Logs: none, Finishes: batch(t, "failed", bad)}
		if got := must[[]db.ReportsTakeRow](t)(w.q.ReportsTake(w.ctx(), both)); len(got) != 0 {
			t.Errorf("%s: took %v", what, got)
		}
	}
	started := must[[]db.ReportsTakeRow](t)(w.starts(batch(t, "running", lost, late, foreign, unknown, ls[1], ls[2], ls[1], ls[4])))
	if len(started) != 2 || started[0].State != "running" || started[1].State != "running" {
		t.Errorf("started %v", started)
	}
	if n := w.count("select count(*) from events where kind in ('task.started', 'step.started')"); n != 4+2 {
		t.Errorf("%d events of 2 starts", n)
	}
	holding := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
	defer holding.Rollback(w.ctx())
	must[any](t)(holding.Exec(w.ctx(), "select otto.lock_run($1)", runs[3]))
	w.start(ls[3])
	finished := must[[]db.ReportsTakeRow](t)(w.finishes(batch(t, "succeeded", lost, late, foreign, unknown, ls[1], ls[1], ls[2], ls[3], ls[4])))
	if len(finished) != 2 {
		t.Errorf("finished %v", finished)
	}
	if n := w.count("select count(*) from events where kind in ('task.succeeded', 'run.succeeded', 'step.succeeded')"); n != 6 {
		t.Errorf("%d events of 2 ends", n)
	}
	if again := must[[]db.ReportsTakeRow](t)(w.finishes(batch(t, "failed", ls[1]))); len(again) != 0 {
		t.Errorf("took a result again: %v", again)
	}
	for _, tx := range []pgx.Tx{holding, beating} {
		if err := tx.Rollback(w.ctx()); err != nil {
			t.Fatal(err)
		}
	}
	if finished = must[[]db.ReportsTakeRow](t)(w.finishes(batch(t, "succeeded", ls[0], ls[3], ls[4]))); len(finished) != 3 {
		t.Errorf("the rest: %v", finished)
	}
	again := w.run("steps: [{sh: a}]")
	first := w.leaseOne(agent)
	w.expire(first)
	second := w.lease(agent, 1)[0]
	if started = must[[]db.ReportsTakeRow](t)(w.starts(batch(t, "running", second))); len(started) != 1 || started[0].Lease != second.ID {
		t.Errorf("a second attempt: %v of run %d", started, again)
	}
	w.want(runs[4], "succeeded: succeeded[main=succeeded]")
}

// Eight contenders send overlapping batches in any order: nobody waits for ever, and each lease ends once.
func TestBatchesContend(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(10)
	agent := w.agent(`{}`)
	wide := w.plan("stages: [{parallel: [{task: a, steps: [{sh: a}]}, {task: b, steps: [{sh: b}]}, {task: c, steps: [{sh: c}]}]}, {stage: z, steps: [{sh: z}]}]")
	for range 20 {
		runs := []int64{w.runPlan(wide), w.runPlan(wide), w.runPlan(wide)}
		ls := w.lease(agent, 9)
		if len(ls) != 9 {
			t.Fatalf("%d leases", len(ls))
		}
		contend(t, 8, func(i int) error {
			mine := append([]held{}, ls...)
			rand.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			if i < 4 {
				_, err := w.q.LeasesRenew(w.ctx(), beats(t, beat{Agent: agent, Held: ids(mine)}))
				if err == nil && i < 2 {
					_, err = w.q.LeaseRenew(w.ctx(), db.LeaseRenewParams{Agent: agent, Held: ids(mine)})
				}
				return err
			}
			if i < 5 {
				if _, err := w.starts(batch(t, "running", mine[:6]...)); err != nil {
					return err
				}
				_, err := w.finishes(batch(t, "succeeded", mine[:6]...))
				return err
			}
			_, err := w.q.ReportsTake(w.ctx(), db.ReportsTakeParams{Starts: batch(t, "running", mine[:4]...), Logs: none, Finishes: batch(t, "succeeded", mine[2:]...)})
			return err
		})
		for _, l := range ls {
			must[db.Task](t)(w.tryFinish(l, "succeeded"))
		}
		for _, run := range runs {
			w.want(run, "running: succeeded[a=succeeded b=succeeded c=succeeded] running[z=ready]")
		}
		w.work(agent, nil)
		for _, run := range runs {
			if n := w.count("select count(*) from events where run_id = $1 and kind = 'stage.succeeded'", run); n != 2 {
				t.Fatalf("%d ends of 2 stages", n)
			}
		}
	}
}

// beat is the heartbeat of an agent, as leases_renew reads it.
type beat struct {
	Agent    int64       `json:"agent"`
	Held     []uuid.UUID `json:"held"`
	Draining bool        `json:"draining"`
	Idle     bool        `json:"idle"`
}

func beats(t *testing.T, list ...beat) json.RawMessage {
	t.Helper()
	return encoded(t, list)
}

// Heartbeats taken together renew what is the agent's own, and leave out what somebody else holds rather than wait.
func TestHeartbeatsTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(4)
	one, two, off, busy, gone := w.agent(`{}`), w.agent(`{}`), w.agent(`{}`), w.agent(`{}`), w.agent(`{}`)
	for range 6 {
		w.run("steps: [{sh: a}]")
	}
	mine, theirs, offs, busys := w.lease(one, 3), w.leaseOne(two), w.leaseOne(off), w.leaseOne(busy)
	over, ordered, locked := mine[0], mine[1], mine[2]
	w.start(over)
	w.finish(over, "succeeded")
	w.exec("update leases set abort_at = otto.clock(), abort_level = 'kill', abort_reason = 'r' where id = $1", ordered.ID)
	w.exec("update leases set expires_at = otto.clock()")
	w.exec("update agents set state = case when id = $1 then 'disabled' else 'offline' end, seen_at = otto.clock() - interval '1 hour'", off)
	holding := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
	defer holding.Rollback(w.ctx())
	must[any](t)(holding.Exec(w.ctx(), "select from leases where id = $1 for update", locked.ID))
	must[any](t)(holding.Exec(w.ctx(), "select from agents where id = $1 for update", busy))

	rows := must[[]db.LeasesRenewRow](t)(w.q.LeasesRenew(w.ctx(), beats(t,
		beat{Agent: one, Held: []uuid.UUID{over.ID, ordered.ID, locked.ID, theirs.ID}}, beat{Agent: two}, beat{Agent: busy, Held: ids([]held{busys})},
		beat{off, ids([]held{offs}), true, false}, beat{two, ids([]held{theirs, theirs}), true, false}, beat{Agent: 999}, beat{Agent: gone, Idle: true})))
	got := map[int32]string{}
	for _, r := range rows {
		got[r.Place] = fmt.Sprintf("fenced %d locked %d orders %s", len(r.Fenced), len(r.Locked), r.Orders)
	}
	want := map[int32]string{
		0: fmt.Sprintf(`fenced 2 locked 1 orders [{"lease": "%s", "level": "kill", "reason": "r"}]`, ordered.ID),
		1: "fenced 0 locked 0 orders []", 3: "fenced 0 locked 0 orders []", 4: "fenced 0 locked 0 orders []",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := w.count("select count(*) from leases where expires_at > otto.clock() and ended_at is null and id = any($1)", ids([]held{ordered, theirs, offs})); n != 3 {
		t.Errorf("%d of 3 leases were renewed", n)
	}
	if n := w.count("select count(*) from leases where expires_at > otto.clock()"); n != 3 {
		t.Errorf("%d leases were renewed, of 3 that were free", n)
	}
	if states := w.text("select string_agg(state || case when seen_at > otto.clock() - interval '1 minute' then '' else '?' end, ' ' order by id) from agents"); states != "online draining disabled offline? offline?" {
		t.Error(states)
	}
	if err := holding.Rollback(w.ctx()); err != nil {
		t.Fatal(err)
	}
	if rows := must[[]db.Lease](t)(w.q.LeaseRenew(w.ctx(), db.LeaseRenewParams{Agent: one, Held: ids(mine)})); len(rows) != 2 {
		t.Errorf("%d of 2 leases answered", len(rows))
	}
	if n := w.count("select count(*) from leases where expires_at > otto.clock() and ended_at is null"); n != 4 {
		t.Errorf("%d leases were renewed, want 4", n)
	}
	_, err := w.q.LeaseRenew(w.ctx(), db.LeaseRenewParams{Agent: 999, Held: []uuid.UUID{}})
	wantRefusal(t, err, db.NotFound, "agent 999 does not exist")
}

// What makes a credential worth less, or names its agent otherwise, is counted; servers hear of it with their beats.
func TestTokenChangesAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	changes := func() int64 { return must[db.Cluster](t)(w.q.ServerBeat(w.ctx(), "s")).TokenChanges }
	hello := func(name string) {
		must[db.Agent](t)(w.q.AgentHello(w.ctx(), db.AgentHelloParams{Agent: agent, Name: name, Capacity: 1, Offers: json.RawMessage(`{}`), Actor: "t"}))
	}
	hello("a")
	before := changes()
	if hello("a"); changes() != before {
		t.Error("the same name was counted")
	}
	if hello("b"); changes() != before+1 {
		t.Error("another name was not counted")
	}
	token := int64(w.count("select id from tokens where agent_id = $1", agent))
	must[db.Token](t)(w.q.TokenRevoke(w.ctx(), db.TokenRevokeParams{Token: token, Actor: "t"}))
	if changes() != before+2 {
		t.Error("a revocation was not counted")
	}
}

// Of the credentials that were used, the good ones are noted, and nothing is waited for.
func TestTokensUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(4)
	w.exec("insert into tokens (hash, kind, role, name, created_by, created_at) select sha256(n::text::bytea), 'user', 'reader', n::text, 't', now() from generate_series(1, 6) n")
	w.exec("update tokens set revoked_at = case when name = '2' then now() end, expires_at = now() + case name when '3' then interval '-1 s' when '4' then interval '1 h' end")
	holding := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
	defer holding.Rollback(w.ctx())
	must[any](t)(holding.Exec(w.ctx(), "select from tokens where name = '5' for update"))
	var used []int64
	for i := range 5 {
		used = append(used, int64(w.count("select id from tokens where name = $1", fmt.Sprint(i+1))))
	}
	good := must[[]int64](t)(w.q.TokensUse(w.ctx(), used))
	slices.Sort(good)
	if fmt.Sprint(good) != fmt.Sprint([]int64{used[0], used[3]}) {
		t.Errorf("good are %v of %v", good, used)
	}
	if noted := w.text("select string_agg(name, ' ' order by name) from tokens where last_used_at is not null"); noted != "1 4" {
		t.Errorf("noted are %s", noted)
	}
	if err := holding.Rollback(w.ctx()); err != nil {
		t.Fatal(err)
	}
}

func ids(leases []held) []uuid.UUID {
	list := make([]uuid.UUID, len(leases))
	for i, l := range leases {
		list[i] = l.ID
	}
	return list
}

// All runs of a batch are created in its order, or none is.
func TestRunsCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plan := w.plan(parallel)
	body := func(plans ...string) json.RawMessage {
		list := []map[string]any{}
		for i, p := range plans {
			list = append(list, map[string]any{"project": fmt.Sprint("p", i%2), "plan": p, "actor": fmt.Sprint("u", i)})
		}
		return encoded(t, list)
	}
	if _, err := w.q.RunsCreate(w.ctx(), body(plan, "sha256:none")); err == nil {
		t.Error("a run of a plan that is not there")
	}
	if n := w.count("select count(*) from runs"); n != 0 {
		t.Errorf("%d runs of a batch that was refused", n)
	}
	rows := must[[]db.Run](t)(w.q.RunsCreate(w.ctx(), body(plan, plan, plan)))
	if len(rows) != 3 || rows[2].CreatedBy != "u2" || rows[0].ProjectID != rows[2].ProjectID || rows[0].ProjectID == rows[1].ProjectID {
		t.Errorf("got %+v", rows)
	}
	for _, r := range rows {
		w.want(r.ID, "running: running[a=ready b=ready] waiting[c=waiting]")
	}
}
