package transitions_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
)

const day = 24 * time.Hour

// prune deletes what is due, up to so many, and says how many runs went.
func (w *world) prune(atMost int) int {
	w.t.Helper()
	return int(must[db.RunsPruneRow](w.t)(w.q.RunsPrune(w.ctx(), db.RunsPruneParams{AtMost: int32(atMost), Actor: "t"})).Pruned)
}

// later lets time pass, and the servers be there again.
func (w *world) later(d time.Duration) {
	w.t.Helper()
	dbtest.AdvanceClock(w.t, w.db, d)
	w.beat()
}

// over is a run that has been through.
func (w *world) over(agent int64, plan string) int64 {
	w.t.Helper()
	run := w.runPlan(plan)
	w.work(agent, nil)
	return run
}

func digestOf(n int) string { return fmt.Sprintf("sha256:%064d", n) }

func (w *world) source(n int) string {
	w.t.Helper()
	return must[db.Source](w.t)(w.q.SourceStore(w.ctx(), db.SourceStoreParams{Digest: digestOf(n), Actor: "t"})).Digest
}

// runOf starts a run of a source that is never planned, and ends it.
func (w *world) runOf(source string) int64 {
	w.t.Helper()
	run := must[db.Run](w.t)(w.q.RunCreate(w.ctx(), db.RunCreateParams{Project: "p", Source: &source, Actor: "t"}))
	must[db.Run](w.t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run.ID, Actor: "t"}))
	return run.ID
}

func TestRunsPrune(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	plan := w.plan(three)
	first, second := w.over(agent, plan), w.over(agent, plan)
	living := w.runPlan(plan)
	w.later(89 * day)
	if n := w.prune(100); n != 0 {
		t.Fatalf("%d runs went after 89 days of 90", n)
	}
	w.later(2 * day)
	third := w.over(agent, plan) // of now, with what was living
	if n := w.prune(1); n != 1 {
		t.Fatalf("%d runs went, want one", n)
	}
	if n := w.count("select count(*) from runs where id = $1", first); n != 0 {
		t.Error("the oldest run did not go first")
	}
	if n := w.prune(100); n != 1 {
		t.Fatalf("%d runs went, want the other", n)
	}
	if left := must[[]int64](t)(idsOf(w, "select id from runs order by id")); !slices.Equal(left, []int64{living, third}) {
		t.Errorf("runs %v are left, want %d and %d", left, living, third)
	}
	for _, table := range []string{"stages", "tasks", "leases", "steps"} {
		column := map[string]string{"stages": "run_id", "tasks": "run_id", "leases": "run_id"}[table]
		query := "select count(*) from " + table + " where " + column + " <> all(array[$1, $2]::bigint[])"
		if table == "steps" {
			query = "select count(*) from steps s where not exists (select from tasks t where t.id = s.task_id and t.run_id in ($1, $2))"
		}
		if n := w.count(query, living, third); n != 0 {
			t.Errorf("%d rows of %s are left over", n, table)
		}
	}
	// The history stays, and says what went.
	kinds := w.kinds(second)
	if len(kinds) < 10 || kinds[len(kinds)-1] != "run.pruned" {
		t.Errorf("the history of the second ends with %v", kinds)
	}
	if n := w.count("select count(*) from events where kind = 'run.pruned' and data ->> 'project' = 'p' and data ->> 'state' = 'succeeded' and data ->> 'plan' = $1", plan); n != 2 {
		t.Errorf("%d events tell of the deletions, want 2", n)
	}
}

func idsOf(w *world, query string, args ...any) ([]int64, error) {
	rows, err := w.db.Owner.Query(w.ctx(), query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// What stands in the way of a run's deletion, and goes out of the way.
func TestRunsPruneWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	plan := w.plan("steps: [{sh: a}]")

	t.Run("for_ever", func(t *testing.T) {
		w.exec("update cluster set keep_runs = null, keep_events = null")
		w.over(agent, plan)
		w.later(1000 * day)
		if n := w.prune(100); n != 0 {
			t.Errorf("%d runs went", n)
		}
		w.exec("update cluster set keep_runs = '90 days'")
		if n := w.prune(100); n != 1 {
			t.Errorf("%d runs went, want 1", n)
		}
	})
	t.Run("for_a_log_in_chunks", func(t *testing.T) {
		w.runPlan(plan)
		l := w.leaseOne(agent)
		must[int32](t)(w.append(l, 0, "one\n"))
		w.finishWithLog(l, 1, 4)
		w.later(100 * day)
		if n := w.prune(100); n != 0 {
			t.Errorf("%d runs went", n)
		}
		must[[]db.Lease](t)(w.q.LogCompact(w.ctx(), db.LogCompactParams{Lease: l.ID, Object: "logs/one", IndexAt: 3}))
		if n := w.prune(100); n != 1 {
			t.Errorf("%d runs went, want 1", n)
		}
		if n := w.count("select count(*) from objects_gone where object = 'logs/one'"); n != 1 {
			t.Error("the log's object is not to be deleted")
		}
	})
	t.Run("for_the_lock_of_a_run", func(t *testing.T) {
		run, other := w.over(agent, plan), w.over(agent, plan)
		w.later(100 * day)
		holder := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
		defer holder.Rollback(w.ctx())
		must[any](t)(holder.Exec(w.ctx(), "select otto.lock_run($1)", run))
		if n := w.prune(100); n != 1 || w.count("select count(*) from runs where id = $1", other) != 0 {
			t.Errorf("%d runs went, want the one that is not locked", n)
		}
		must[any](t)(nil, holder.Rollback(w.ctx()))
		if n := w.prune(100); n != 1 {
			t.Errorf("%d runs went, want 1", n)
		}
	})
	t.Run("for_a_rerun_in_the_making", func(t *testing.T) {
		run := w.over(agent, plan)
		w.later(100 * day)
		maker := must[pgx.Tx](t)(w.db.App.Begin(w.ctx()))
		defer maker.Rollback(w.ctx())
		again := must[db.Run](t)(db.New(maker).RunRerun(w.ctx(), db.RunRerunParams{Run: run, Actor: "t"}))
		if n := w.prune(100); n != 0 {
			t.Errorf("%d runs went", n)
		}
		must[any](t)(nil, maker.Commit(w.ctx()))
		if n := w.prune(100); n != 1 || w.runRow(again.ID).RerunOf != nil {
			t.Errorf("%d runs went, want 1; the rerun is of %v", n, w.runRow(again.ID).RerunOf)
		}
	})
}

// A call takes whole runs until their tasks are enough.
func TestRunsPruneIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	plan := w.plan("stages: [{stage: a, mode: parallel, tasks: [{task: a, steps: [{sh: a}]}, {task: b, steps: [{sh: b}]}, {task: c, steps: [{sh: c}]}]}]")
	for range 5 {
		w.over(agent, plan)
	}
	w.later(100 * day)
	for _, c := range []struct{ atMost, want int }{{1, 1}, {5, 2}, {100, 2}, {100, 0}} {
		if n := w.prune(c.atMost); n != c.want {
			t.Errorf("at most %d: %d runs of 3 tasks went, want %d", c.atMost, n, c.want)
		}
	}
}

func TestLogsExpire(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	w.over(agent, w.plan("steps: [{sh: says nothing}]"))
	run := w.run("steps: [{sh: a}]")
	l := w.leaseOne(agent)
	must[int32](t)(w.append(l, 0, "one\n"))
	w.finishWithLog(l, 1, 4)
	must[[]db.Lease](t)(w.q.LogCompact(w.ctx(), db.LogCompactParams{Lease: l.ID, Object: "logs/one", IndexAt: 3}))
	expire := func() int32 {
		return must[int32](t)(w.q.LogsExpire(w.ctx(), db.LogsExpireParams{AtMost: 10, Actor: "t"}))
	}
	w.later(80 * day)
	if n := expire(); n != 0 {
		t.Error("a log went before its run, though nobody said so")
	}
	w.exec("update cluster set keep_logs = '30 days'")
	if first, again := expire(), expire(); first != 1 || again != 0 {
		t.Errorf("%d logs expired, and again %d", first, again)
	}
	lease := must[db.Lease](t)(w.q.LeaseByID(w.ctx(), l.ID))
	if lease.LogExpiredAt == nil || *lease.LogObject != "logs/one" || w.count("select count(*) from objects_gone where object = 'logs/one'") != 1 {
		t.Errorf("lease %+v", lease)
	}
	if kinds := w.kinds(run); kinds[len(kinds)-1] != "log.expired" {
		t.Errorf("events %v", kinds)
	}
	// Its object is deleted once: the run does not ask for that again.
	w.exec("delete from objects_gone")
	w.later(20 * day)
	if n := w.prune(10); n != 2 || w.count("select count(*) from objects_gone") != 0 {
		t.Errorf("%d runs went; objects to delete: %d", n, w.count("select count(*) from objects_gone"))
	}
}

// Plans and sources go a day after the last run that refers to them, or after they were stored.
func TestContentsPrune(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	plan, unused := w.plan(three), w.plan("steps: [{sh: never}]")
	source := w.source(1)
	w.over(agent, plan)
	w.runOf(source)
	prune := func() (int32, int32) {
		t.Helper()
		return must[int32](t)(w.q.PlansPrune(w.ctx(), 10)), must[int32](t)(w.q.SourcesPrune(w.ctx(), 10))
	}
	if plans, sources := prune(); plans+sources != 0 {
		t.Fatalf("%d plans and %d sources went at once", plans, sources)
	}
	w.later(25 * time.Hour)
	if plans, sources := prune(); plans != 1 || sources != 0 || w.count("select count(*) from plans where digest = $1", unused) != 0 {
		t.Fatalf("%d plans and %d sources went, want the plan that no run uses", plans, sources)
	}
	w.later(100 * day)
	if plans, sources := prune(); plans+sources != 0 {
		t.Fatalf("%d plans and %d sources went with runs of them still there", plans, sources)
	}
	if n := w.prune(100); n != 2 {
		t.Fatalf("%d runs went, want 2", n)
	}
	if plans, sources := prune(); plans+sources != 0 {
		t.Fatalf("%d plans and %d sources went with their last run", plans, sources)
	}
	known := func() bool { _, err := w.q.SourceByDigest(w.ctx(), source); return err == nil }
	if !known() {
		t.Error("the source is not offered any more")
	}
	w.later(13 * time.Hour)
	if known() {
		t.Error("a source that may go within hours is still offered")
	}
	w.later(12 * time.Hour)
	w.exec("insert into objects_gone values ($1, otto.clock())", source) // by an upload that was broken off long ago
	if plans, sources := prune(); plans != 1 || sources != 1 {
		t.Errorf("%d plans and %d sources went, want 1 and 1", plans, sources)
	}
	if n := w.count("select count(*) from objects_gone where object = $1", source) + w.count("select count(*) from plan_tasks"); n != 1 {
		t.Error("the bundle is not to be deleted, or tasks of plans are left")
	}
}

// Storing a plan or source again gives it another day.
func TestContentsAreWantedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plan, source := w.plan(three), w.source(1)
	w.later(23 * time.Hour)
	w.plan(three)
	must[[]db.Source](t)(w.q.SourceExpect(w.ctx(), source))
	w.later(23 * time.Hour)
	w.source(1)
	w.plan(three)
	w.later(23 * time.Hour)
	if n := must[int32](t)(w.q.PlansPrune(w.ctx(), 10)) + must[int32](t)(w.q.SourcesPrune(w.ctx(), 10)); n != 0 {
		t.Fatalf("%d went", n)
	}
	must[db.Run](t)(w.q.RunCreate(w.ctx(), db.RunCreateParams{Project: "p", Source: &source, Plan: &plan, Actor: "t"}))
}

// An upload that is announced and never noted leaves its object behind for a day; one that is noted keeps it.
func TestUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	take := func() []string { return must[[]string](t)(w.q.ObjectsTake(w.ctx(), 10)) }
	for n := range 2 {
		if known := must[[]db.Source](t)(w.q.SourceExpect(w.ctx(), digestOf(n))); len(known) != 0 {
			t.Fatalf("known: %v", known)
		}
	}
	w.source(0)
	if due := take(); len(due) != 0 {
		t.Errorf("%v would be deleted at once", due)
	}
	w.later(25 * time.Hour)
	if due := take(); !slices.Equal(due, []string{digestOf(1)}) {
		t.Errorf("%v would be deleted, want what was never noted", due)
	}
	must[[]db.Source](t)(w.q.SourceExpect(w.ctx(), digestOf(1))) // anew
	if due := take(); len(due) != 0 {
		t.Errorf("%v would be deleted under an upload", due)
	}
	// Somebody who did not hear that it was noted announces it again: what is noted stays.
	w.exec("insert into objects_gone values ($1, '2000-01-01')", digestOf(0))
	if due := take(); len(due) != 0 || w.count("select count(*) from objects_gone where object = $1", digestOf(0)) != 0 {
		t.Errorf("%v would be deleted though it is a source", due)
	}
}

// Days of events are dropped whole, what is outside of them by rows; who reads goes on with what is left.
func TestEventsExpire(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec("delete from events")
	dbtest.SetClock(t, w.db, time.Date(2031, 5, 10, 12, 0, 0, 0, time.UTC))
	w.beat()
	must[int32](t)(w.q.PartitionMaintain(w.ctx(), 3))
	agent := w.agent(`{}`)
	run := w.run(three)
	cursor := w.events(run)[1]
	w.later(2 * day)
	w.work(agent, nil)
	w.exec("insert into events (at, kind, actor) select otto.clock() - interval '400 days', 'old', 't' from generate_series(1, 25)")
	for _, c := range []struct{ want int32 }{{10}, {10}, {5}, {0}} {
		if n := must[int32](t)(w.q.EventsPrune(w.ctx(), 10)); n != c.want {
			t.Errorf("%d rows went, want %d", n, c.want)
		}
	}
	w.exec("update cluster set keep_runs = '1 day', keep_events = '37 hours'")
	if n := must[int32](t)(w.q.PartitionDrop(w.ctx(), 1000*day)); n != 0 {
		t.Fatalf("%d days were dropped, of which something is to be kept", n)
	}
	w.later(day)
	if n := must[int32](t)(w.q.PartitionDrop(w.ctx(), 1000*day)); n != 1 {
		t.Fatalf("%d days were dropped, want the first", n)
	}
	left := must[[]db.EventsAfterRow](t)(w.q.EventsAfter(w.ctx(), db.EventsAfterParams{Run: &run, Tx: cursor.Tx, ID: cursor.ID, AtMost: 1000}))
	if len(left) == 0 || left[0].Kind != "task.scheduled" || left[len(left)-1].Kind != "run.completed" {
		t.Errorf("a reader goes on with %v", left)
	}
}

// Whoever loses the race for a plan or source: a run never refers to what is not there, and is refused cleanly.
func TestPruneRacesRunCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(8)
	for i := range 20 {
		plan, source := w.plan(fmt.Sprintf("steps: [{sh: 'echo %d'}]", i)), w.source(i)
		w.later(25 * time.Hour)
		contend(t, 8, func(n int) error {
			var err error
			switch n % 4 {
			case 0:
				_, err = w.q.PlansPrune(context.Background(), 100)
			case 1:
				_, err = w.q.SourcesPrune(context.Background(), 100)
			default:
				_, err = w.q.RunCreate(context.Background(), db.RunCreateParams{Project: "p", Source: &source, Plan: &plan, Actor: "t"})
				if err != nil && (strings.Contains(err.Error(), "runs_source_digest_fkey") || strings.Contains(err.Error(), "runs_plan_digest_fkey")) {
					err = nil // refused, as the API says: no such source, or plan
				}
			}
			return err
		})
		created := w.count("select count(*) from runs where source_digest = $1 and plan_digest = $2", source, plan)
		kept := w.count("select (select count(*) from plans where digest = $1) + (select count(*) from sources where digest = $2)", plan, source)
		if created > 0 && kept != 2 {
			t.Fatalf("%d runs, %d of plan and source are left", created, kept)
		}
	}
}

// Eight prune at once: each run goes once, none twice, and no plan stays for ever.
func TestEightPrune(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(8)
	agent := w.agent(`{}`)
	plan := w.plan("steps: [{sh: a}]")
	for range 40 {
		w.over(agent, plan)
	}
	w.later(100 * day)
	for range 20 {
		contend(t, 8, func(int) error {
			_, err := w.q.RunsPrune(context.Background(), db.RunsPruneParams{AtMost: 3, Actor: "t"})
			return err
		})
	}
	if runs, events := w.count("select count(*) from runs"), w.count("select count(*) from events where kind = 'run.pruned'"); runs != 0 || events != 40 {
		t.Errorf("%d runs are left; %d events, want 40", runs, events)
	}
	if n := w.count("select count(*) from plans where idle_at > otto.clock() - interval '1 minute'"); n != 1 {
		t.Error("nobody noticed that the plan is not needed any more")
	}
}

// The statements that look for what is old use the indexes that are there for them, and so do the foreign keys.
func TestRetentionHasIndexes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct{ index, query string }{
		{"runs_finished", "select id from runs r where r.finished_at < otto.clock() - (select keep_runs from cluster) order by r.finished_at limit 10 for update of r skip locked"},
		{"leases_log_kept", "select id from leases l where l.log_object is not null and l.log_expired_at is null and l.ended_at < otto.clock() - (select keep_logs from cluster) order by l.ended_at limit 10"},
		{"plans_idle", "select digest from plans p where p.idle_at < otto.clock() - interval '1 day' order by p.idle_at limit 10"},
		{"sources_idle", "select digest from sources s where s.idle_at < otto.clock() - interval '1 day' order by s.idle_at limit 10"},
		{"events_default_at", "select ctid from events_default d where d.at < otto.clock() - (select keep_events from cluster) order by d.at limit 10"},
		{"objects_gone_due", "select object from objects_gone g where g.at <= otto.clock() order by g.at limit 10"},
		{"runs_plan", "select 1 from only runs x where 'd' operator(pg_catalog.=) plan_digest for key share of x"},
		{"runs_source", "select 1 from only runs x where 'd' operator(pg_catalog.=) source_digest for key share of x"},
	} {
		plan := strings.Join(must[[]string](t)(explained(w, c.query)), "\n")
		if !strings.Contains(plan, c.index) || strings.Contains(plan, "Sort") {
			t.Errorf("%s is not used for\n%s\n%s", c.index, c.query, plan)
		}
	}
	// Every foreign key to what is deleted has an index that begins with its columns.
	rows := must[pgx.Rows](t)(w.db.Owner.Query(w.ctx(), `select c.conname from pg_constraint c
		where c.contype = 'f' and c.confrelid in ('runs'::regclass, 'stages'::regclass, 'tasks'::regclass, 'plans'::regclass, 'sources'::regclass)
		  and not exists (select from pg_index i where i.indrelid = c.conrelid and i.indisvalid
		                     and (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)`))
	if without := must[[]string](t)(pgx.CollectRows(rows, pgx.RowTo[string])); len(without) != 0 {
		t.Errorf("foreign keys without an index: %v", without)
	}
}

// What a call reads is by what it deletes, not by what is kept: 20,000 runs, of which 10 go.
func TestRunsPruneReadsLittle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plan := w.plan("steps: [{sh: a}]")
	model := w.over(w.agent(`{}`), plan)
	for _, statement := range []string{
		"insert into runs (id, project_id, plan_digest, state, created_by, created_at, started_at, finished_at) overriding system value select id + g, project_id, plan_digest, state, created_by, created_at, started_at, finished_at from runs, generate_series(1, 20000) g where id = $1",
		"insert into stages (id, run_id, index, name, mode, always, state, tasks_left, finished_at) overriding system value select id + g, run_id + g, index, name, mode, always, state, 0, finished_at from stages, generate_series(1, 20000) g where run_id = $1",
		"insert into tasks (id, run_id, stage_id, stage_index, index, name, state, always, allow_failure, finished_at) overriding system value select id + g, run_id + g, stage_id + g, stage_index, index, name, state, always, allow_failure, finished_at from tasks, generate_series(1, 20000) g where run_id = $1",
		"insert into leases (id, task_id, run_id, agent_id, epoch, granted_at, start_by, expires_at, ended_at, end_reason, log_done_at) select gen_random_uuid(), task_id + g, run_id + g, agent_id, epoch, granted_at, start_by, expires_at, ended_at, end_reason, log_done_at from leases, generate_series(1, 20000) g where run_id = $1",
	} {
		w.exec("begin; set local session_replication_role = replica; " + strings.ReplaceAll(statement, "$1", fmt.Sprint(model)) + "; commit")
	}
	w.exec("analyze") //nolint:misspell // SQL is American
	w.later(100 * day)
	for _, call := range []string{"runs_prune(10, 't')", "plans_prune(10)", "sources_prune(10)", "logs_expire(10, 't')", "events_prune(10)"} {
		if n := w.pages("select * from otto." + call); n > 800 {
			t.Errorf("%s touched %d pages", call, n)
		}
	}
	if n := w.count("select count(*) from runs"); n != 19991 {
		t.Errorf("%d runs are left", n)
	}
}

// pages says how many pages a statement touches, with all that it calls, in a session that has made its plans.
func (w *world) pages(query string) (n int) {
	w.t.Helper()
	conn := must[*pgxpool.Conn](w.t)(w.db.App.Acquire(w.ctx()))
	defer conn.Release()
	for range 2 {
		tx := must[pgx.Tx](w.t)(conn.Begin(w.ctx()))
		n = int(explain(w.t, tx, "explain (analyze, buffers, format json) "+query)) //nolint:misspell // likewise
		must[any](w.t)(nil, tx.Rollback(w.ctx()))
	}
	must[any](w.t)(conn.Exec(w.ctx(), query))
	return n
}

func explain(t testing.TB, tx pgx.Tx, query string) float64 {
	t.Helper()
	var plans []struct {
		Plan struct {
			Hit  float64 `json:"Shared Hit Blocks"`
			Read float64 `json:"Shared Read Blocks"`
		}
	}
	if err := tx.QueryRow(t.Context(), query).Scan(&plans); err != nil {
		t.Fatal(err)
	}
	return plans[0].Plan.Hit + plans[0].Plan.Read
}

// explained is the plan that a worker's session makes: on an empty table too, it must not read the whole.
func explained(w *world, query string) ([]string, error) {
	tx, err := w.db.Owner.Begin(w.ctx())
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(w.ctx())
	for _, set := range []string{"set local enable_seqscan = off", "set local enable_bitmapscan = off"} {
		if _, err := tx.Exec(w.ctx(), set); err != nil {
			return nil, err
		}
	}
	rows, err := tx.Query(w.ctx(), "explain "+query)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// No run without its history, and nothing that goes within the hour.
func TestRetentionSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, set := range []string{
		"keep_events = '30 days'", "keep_runs = null", "keep_runs = '1 hour'", "keep_logs = '0'", "keep_runs = '-90 days'",
	} {
		if _, err := w.db.Owner.Exec(w.ctx(), "update cluster set "+set); err == nil {
			t.Errorf("took %s", set)
		}
	}
	w.exec("update cluster set keep_runs = null, keep_events = null, keep_logs = '7 days'")
	w.exec("update cluster set keep_runs = '6 months', keep_events = '2 years'")
	if c := must[db.Cluster](t)(w.q.ServerBeat(w.ctx(), "api")); c.KeepRuns == nil || *c.KeepRuns != 180*day {
		t.Errorf("keep_runs is read as %v", c.KeepRuns)
	}
}
