package transitions_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/db"
)

// spoken are attempts whose logs are over, each of a run of its own.
func (w *world) spoken(n int) (logs []uuid.UUID) {
	w.t.Helper()
	agent := w.agent(`{}`)
	for range n {
		w.run("steps: [{sh: a}]")
		l := w.leaseOne(agent)
		must[int32](w.t)(w.append(l, 0, "one\n"))
		w.finishWithLog(l, 1, 4)
		logs = append(logs, l.ID)
	}
	return logs
}

// pack does what a worker does with some logs, once their object is stored.
func (w *world) pack(q *db.Queries, object string, logs ...uuid.UUID) []uuid.UUID {
	w.t.Helper()
	if err := w.q.LogPack(w.ctx(), object); err != nil {
		w.t.Fatal(err)
	}
	return must[[]uuid.UUID](w.t)(q.LogsCompact(w.ctx(), db.LogsCompactParams{Logs: logs, Object: object, IndexAt: 3}))
}

// due are the objects that would be deleted now.
func (w *world) due() string {
	w.t.Helper()
	return strings.Join(must[[]string](w.t)(w.q.ObjectsTake(w.ctx(), 100)), " ")
}

// Many logs move at once: those that are over, which nobody has moved or is just moving.
func TestLogsCompact(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(4)
	logs := w.spoken(4)
	w.run("steps: [{sh: a}]")
	open := w.leaseOne(w.agent(`{}`))
	must[int32](t)(w.append(open, 0, "one\n"))

	moving := must[pgx.Tx](t)(w.db.App.Begin(w.ctx()))
	defer moving.Rollback(w.ctx())
	if moved := w.pack(db.New(moving), "logs/a", logs[0], logs[1]); len(moved) != 2 {
		t.Errorf("%d logs moved, want 2", len(moved))
	}
	if moved := w.pack(w.q, "logs/b", open.ID, logs[1], logs[2], uuid.New()); !slices.Equal(moved, logs[2:3]) {
		t.Errorf("%v moved, want the one that is over and free", moved)
	}
	must[any](t)(nil, moving.Commit(w.ctx()))
	if moved := w.pack(w.q, "logs/c", logs[:3]...); len(moved) != 0 {
		t.Errorf("%v moved again", moved)
	}
	for object, want := range map[string]int{"logs/a": 2, "logs/b": 1, "logs/c": 0} {
		if n := w.count("select count(*) from leases where log_object = $1 and log_index = 3", object); n != want {
			t.Errorf("%d logs are in %s, want %d", n, object, want)
		}
		if n := w.count("select coalesce(max(logs), 0) from log_packs where object = $1", object); n != want {
			t.Errorf("%s counts %d logs, want %d", object, n, want)
		}
	}
	if chunks, parts := w.count("select count(*) from log_chunks"), w.count("select count(*) from log_parts"); chunks != 2 || parts != 2 {
		t.Errorf("%d chunks and %d parts are left, want those of two logs", chunks, parts)
	}
	if due := w.due(); due != "logs/c" {
		t.Errorf("%q would be deleted, want the object that nothing went into", due)
	}
}

// An object whose writer has died is deleted, and nothing can go into it then; not before.
func TestLogPackIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	logs := w.spoken(1)
	for _, object := range []string{"logs/a", "logs/b"} {
		if err := w.q.LogPack(w.ctx(), object); err != nil {
			t.Fatal(err)
		}
	}
	compact := func(object string) error {
		_, err := w.q.LogsCompact(w.ctx(), db.LogsCompactParams{Logs: logs, Object: object, IndexAt: 3})
		return err
	}
	w.later(59 * time.Minute)
	if due := w.due(); due != "" {
		t.Errorf("%q would be deleted at once", due)
	}
	w.later(2 * time.Minute)
	if due := w.due(); due != "logs/a logs/b" {
		t.Errorf("%q would be deleted, want both", due)
	}
	if err := w.q.ObjectsPrune(w.ctx(), []string{"logs/a"}); err != nil {
		t.Fatal(err)
	}
	for _, object := range []string{"logs/a", "logs/never"} {
		wantRefusal(t, compact(object), db.Conflict, "object "+object+" has been given up: cannot compact logs into it")
	}
	if err := compact("logs/b"); err != nil {
		t.Error(err)
	}
	if due := w.due(); due != "" {
		t.Errorf("%q would be deleted with a log in it", due)
	}
}

// An object goes with the last of its logs, whether that expires or goes with its run.
func TestLogPackOutlivesItsFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	logs := w.spoken(3)
	w.pack(w.q, "logs/a", logs[:2]...)
	w.exec("select otto.log_compact($1, 'logs/own', 3)", logs[2])
	w.exec("update runs set finished_at = finished_at + interval '50 days' where id = (select run_id from leases where id = $1)", logs[1])
	w.later(100 * day)
	if n := w.prune(100); n != 2 {
		t.Fatalf("%d runs went, want 2", n)
	}
	if due := w.due(); due != "logs/own" || w.count("select logs from log_packs") != 1 {
		t.Errorf("%q would be deleted, %d logs are left", due, w.count("select logs from log_packs"))
	}
	w.exec("update cluster set keep_logs = '30 days'")
	if n := must[int32](t)(w.q.LogsExpire(w.ctx(), db.LogsExpireParams{AtMost: 10, Actor: "t"})); n != 1 {
		t.Fatalf("%d logs expired, want 1", n)
	}
	if due := w.due(); !strings.Contains(due, "logs/a") || w.count("select count(*) from log_packs") != 0 {
		t.Errorf("%q would be deleted", due)
	}
}

// Who lets go of the last two logs of an object at the same time lets go of it, once; and a log that expires while its run goes
// is not counted twice.
func TestLogPackIsLetGoByTwo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ first, second, left int }{"of_two_logs": {0, 1, 0}, "of_one_log": {0, 0, 1}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).widen(4)
			logs := w.spoken(2)
			w.pack(w.q, "logs/a", logs...)
			w.exec("update cluster set keep_logs = '30 days'")
			w.later(100 * day)
			w.exec("update leases set ended_at = otto.clock() - case when id = $1 then interval '40 days' else interval '1 day' end", logs[c.first])
			w.exec("update runs set finished_at = otto.clock() - interval '1 day' where id <> (select run_id from leases where id = $1)", logs[c.second])
			expiring := must[pgx.Tx](t)(w.db.App.Begin(w.ctx()))
			defer expiring.Rollback(w.ctx())
			if n := must[int32](t)(db.New(expiring).LogsExpire(w.ctx(), db.LogsExpireParams{AtMost: 10, Actor: "t"})); n != 1 {
				t.Fatalf("%d logs expired, want 1", n)
			}
			done := make(chan error, 1)
			go func() {
				_, err := w.q.RunsPrune(context.WithoutCancel(t.Context()), db.RunsPruneParams{AtMost: 10, Actor: "t"})
				done <- err
			}()
			w.untilBlocked()
			must[any](t)(nil, expiring.Commit(w.ctx()))
			must[any](t)(nil, <-done)
			if n := w.count("select count(*) from runs"); n != 1 {
				t.Fatalf("%d runs are left, want 1", n)
			}
			if n := w.count("select coalesce(sum(logs), 0) from log_packs"); n != c.left {
				t.Errorf("the object counts %d logs, want %d", n, c.left)
			}
			if n := w.count("select count(*) from objects_gone where object = 'logs/a'"); n != 1-c.left {
				t.Errorf("it is let go of %d times, want %d", n, 1-c.left)
			}
		})
	}
}
