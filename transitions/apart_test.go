package transitions_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
)

// A log is its lease's own: what is asked of one, and becomes of it, leaves another's as it was.
func TestLogsApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	w.run("steps: [{sh: a}]")
	silent := w.run("steps: [{sh: b}]")
	for range 3 {
		w.run("steps: [{sh: c}]")
	}
	one, two, three, quiet, whole := w.leaseOne(agent), w.leaseOne(agent), w.leaseOne(agent), w.leaseOne(agent), w.leaseOne(agent)
	for seq := range 2 {
		must[int32](t)(w.append(one, seq, "one\n"))
	}
	if next := must[int32](t)(w.append(two, 1, "too early\n")); next != 0 {
		t.Errorf("chunk %d is wanted", next)
	}
	must[int32](t)(w.append(two, 0, "two\n"))
	compact := func() int {
		return len(must[[]db.Lease](t)(w.q.LogCompact(w.ctx(), db.LogCompactParams{Lease: one.ID, Object: "logs/one", IndexAt: 3})))
	}
	if compact() != 0 {
		t.Error("a log was compacted that is still written")
	}
	w.finishWithLog(one, 2, 8)
	if compact() != 1 {
		t.Error("a log that is complete was not compacted")
	}
	rows := must[[]db.LogChunksRow](t)(w.q.LogChunks(w.ctx(), db.LogChunksParams{Lease: two.ID, AtMost: 10}))
	if len(rows) != 1 || string(rows[0].Data) != "two\n" {
		t.Errorf("the other has %d chunks", len(rows))
	}

	w.finishWithLog(two, 9, 100) // the rest never comes
	must[int32](t)(w.append(quiet, 0, "at work\n"))
	must[int32](t)(w.append(whole, 0, "whole\n"))
	w.finishWithLog(whole, 1, 6)
	dbtest.AdvanceClock(t, w.db, 20*time.Minute)
	w.judgeSoon()
	w.exec("update cluster set judge_from = otto.clock() - interval '20 minutes'")
	must[int32](t)(w.append(three, 0, "alive\n"))
	must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t"))
	if given := must[[]int64](t)(idsOf(w, "select run_id from events where kind = 'log.truncated'")); fmt.Sprint(given) != fmt.Sprint([]int64{silent}) {
		t.Errorf("given up are the logs of %v, want %d", given, silent)
	}
}

// An agent that goes loses what is its own, and that which ends just then is left as it ended.
func TestAgentLosesItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := w.agent(`{}`), w.agent(`{}`)
	for range 4 {
		w.run("steps: [{sh: a}]")
	}
	theirs, over, ending, lost := w.leaseOne(two), w.leaseOne(one), w.leaseOne(one), w.leaseOne(one)
	w.finish(over, "succeeded")
	finishing := must[pgx.Tx](t)(w.db.App.Begin(w.ctx()))
	defer finishing.Rollback(w.ctx())
	must[db.Task](t)(db.New(finishing).TaskFinish(w.ctx(), db.TaskFinishParams{Lease: ending.ID, Epoch: 1, Agent: one,
		Steps: json.RawMessage(`[{"index": 0, "state": "succeeded"}]`), Actor: "t"}))
	done := make(chan error, 1)
	go func() {
		_, err := w.db.Owner.Exec(context.Background(), fmt.Sprintf("select otto.agent_bye(%d, 't')", one))
		done <- err
	}()
	w.untilBlocked()
	if err := finishing.Commit(w.ctx()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for l, want := range map[int64]string{theirs.TaskID: "running", over.TaskID: "succeeded", ending.TaskID: "succeeded", lost.TaskID: "ready"} {
		if got := w.task(l).State; got != want {
			t.Errorf("task %d is %s, want %s", l, got, want)
		}
	}
}

// waitsFor says whether a call waits for a lock that somebody holds.
func (w *world) waitsFor(call string, args ...any) bool {
	w.t.Helper()
	tx := must[pgx.Tx](w.t)(w.db.Owner.Begin(w.ctx()))
	defer tx.Rollback(w.ctx())
	must[any](w.t)(tx.Exec(w.ctx(), "set local lock_timeout = '20ms'"))
	_, err := tx.Exec(w.ctx(), "select "+call, args...)
	if err != nil && !strings.Contains(err.Error(), "55P03") {
		w.t.Fatalf("%s: %v", call, err)
	}
	return err != nil
}

// The heartbeat of one agent waits for whoever holds its row or its leases, and for nobody else.
func TestHeartbeatWaitsForItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := w.agent(`{}`), w.agent(`{}`)
	for range 3 {
		w.run("steps: [{sh: a}]")
	}
	over, mine, theirs := w.leaseOne(one), w.leaseOne(one), w.leaseOne(two)
	w.finish(over, "succeeded")
	for name, c := range map[string]struct {
		table string
		row   any
		waits bool
	}{
		"its_row": {"agents", one, true}, "its_lease": {"leases", mine.ID, true},
		"anothers_lease": {"leases", theirs.ID, false}, "a_lease_that_is_over": {"leases", over.ID, false}, "another_agent": {"agents", two, false},
	} {
		holding := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
		defer holding.Rollback(w.ctx())
		must[any](t)(holding.Exec(w.ctx(), "select from "+c.table+" where id = $1 for update", c.row))
		if waits := w.waitsFor("otto.lease_renew($1, $2, false)", one, []uuid.UUID{over.ID, mine.ID, theirs.ID}); waits != c.waits {
			t.Errorf("%s: waits %t, want %t", name, waits, c.waits)
		}
		if err := holding.Rollback(w.ctx()); err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever prunes skips what others hold, and an upload waits for whoever deletes the object it would make.
func TestPruneSkipsWhatIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run("steps: [{sh: a}]")
	l := w.leaseOne(w.agent(`{}`))
	must[int32](t)(w.append(l, 0, "one\n"))
	w.finishWithLog(l, 1, 4)
	must[[]db.Lease](t)(w.q.LogCompact(w.ctx(), db.LogCompactParams{Lease: l.ID, Object: "logs/one", IndexAt: 3}))
	plan, source := w.plan(three), w.source(1)
	w.exec("insert into objects_gone values ('logs/two', otto.clock())")
	w.exec("update cluster set keep_logs = '30 days'")
	w.later(40 * day)
	for _, c := range []struct {
		row  string
		args []any
		call string
	}{
		{"leases where id = $1", []any{l.ID}, "otto.logs_expire(10, 't')"},
		{"plans where digest = $1", []any{plan}, "otto.plans_prune(10)"},
		{"sources where digest = $1", []any{source}, "otto.sources_prune(10)"},
		{"objects_gone where object = 'logs/two'", nil, "otto.objects_take(10)"},
	} {
		holding := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
		defer holding.Rollback(w.ctx())
		must[any](t)(holding.Exec(w.ctx(), "select from "+c.row+" for update", c.args...))
		if w.waitsFor(c.call) {
			t.Errorf("%s waits", c.call)
		}
		if err := holding.Rollback(w.ctx()); err != nil {
			t.Fatal(err)
		}
	}
	taking := must[pgx.Tx](t)(w.db.App.Begin(w.ctx()))
	defer taking.Rollback(w.ctx())
	if due := must[[]string](t)(db.New(taking).ObjectsTake(w.ctx(), 10)); len(due) != 1 {
		t.Errorf("%v are to be deleted", due)
	}
	if !w.waitsFor("otto.source_expect('logs/two')") {
		t.Error("an upload does not wait for whoever deletes its object")
	}
}

// Two who look after the partitions do not get into each other's way: the second finds all done.
func TestPartitionsTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(2)
	w.exec("delete from events")
	for _, f := range []string{"partition_maintain(int)", "partition_drop(interval)"} {
		w.exec("alter function otto." + f + " set lock_timeout = '1min'") // so that a slow machine does not end the wait
	}
	together := func(what string, call func(q *db.Queries) (int32, error)) {
		t.Helper()
		first := must[pgx.Tx](t)(w.db.App.Begin(w.ctx()))
		defer first.Rollback(w.ctx())
		if n := must[int32](t)(call(db.New(first))); n == 0 {
			t.Errorf("%s: the first has nothing to do", what)
		}
		done := make(chan error, 1)
		go func() {
			n, err := call(w.q)
			if err == nil && n != 0 {
				err = fmt.Errorf("the second does %d again", n)
			}
			done <- err
		}()
		w.untilBlocked()
		if err := first.Commit(w.ctx()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	together("maintain", func(q *db.Queries) (int32, error) { return q.PartitionMaintain(w.ctx(), 1) })
	w.later(5 * day)
	together("drop", func(q *db.Queries) (int32, error) { return q.PartitionDrop(w.ctx(), 2*day) })
}
