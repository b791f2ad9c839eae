package jobs

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/db"
)

// grouped starts a run of one task in a concurrency group, and gives the task's number.
func (p *plant) grouped(onConflict string) int64 {
	p.t.Helper()
	body := fmt.Sprintf(`{"stages": [{"name": "s", "mode": "linear", "tasks": [{"name": "t", "timeout_ms": 1000, "steps": [{"name": "a", "sh": "a"}],
		"concurrency": {"group": "g", "limit": 1, "on_conflict": %q}}]}]}`, onConflict)
	digest := fmt.Sprintf("sha256:%064x", len(onConflict))
	if _, err := p.q.PlanStore(p.t.Context(), db.PlanStoreParams{Digest: digest, Body: []byte(body)}); err != nil {
		p.t.Fatal(err)
	}
	run, err := p.q.RunCreate(p.t.Context(), db.RunCreateParams{Project: "p", Plan: &digest, Actor: "t"})
	if err != nil {
		p.t.Fatal(err)
	}
	tasks, err := p.q.TasksOfRun(p.t.Context(), run.ID)
	if err != nil {
		p.t.Fatal(err)
	}
	return tasks[0].Task.ID
}

func (p *plant) taskIs(task int64, state string) func() bool {
	return func() bool {
		row, err := p.q.TaskByID(p.t.Context(), task)
		if err != nil {
			p.t.Fatal(err)
		}
		return row.Task.State == state
	}
}

// hold locks something until the transaction it gives is committed, or the test ends.
func (p *plant) hold(query string) pgx.Tx {
	p.t.Helper()
	holder, err := p.db.Owner.Begin(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = holder.Rollback(context.Background()) })
	lock(p.t, holder, query)
	return holder
}

func (p *plant) abort(task int64) {
	p.t.Helper()
	if _, err := p.q.TaskAbort(p.t.Context(), db.TaskAbortParams{Task: task, Actor: "t"}); err != nil {
		p.t.Fatal(err)
	}
}

// A group that was held while its room came free is gone on with, though the job table is emptied besides.
func TestGroupPromote(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	first, second := p.grouped("wait"), p.grouped("wait")
	holder := p.hold("select pg_advisory_xact_lock(hashtext('otto.group'), hashtext((select id from projects) || '/g'))")
	p.abort(first)
	if !p.taskIs(second, "blocked")() {
		t.Error("it went on though the group was held")
	}
	lock(t, holder, "delete from river.river_job where kind = 'group_promote' and state = 'available'")
	if err := holder.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.eventually("the second is ready", p.taskIs(second, "ready"))
}

// The job that goes on with a group waits for whoever holds a run.
func TestGroupPromoteTriesAgain(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	first, second := p.grouped("wait"), p.grouped("wait")
	holder := p.hold("select otto.lock_run(max(id)) from runs")
	p.abort(first)
	p.eventually("the job is at work", func() bool {
		var n int
		if err := p.db.Owner.QueryRow(t.Context(), "select count(*) from river.river_job where kind = 'group_promote' and attempt > 0").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n > 0
	})
	if err := holder.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.eventually("the second is ready", p.taskIs(second, "ready"))
}

// A newer run takes the place of an older one.
func TestGroupSupersede(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	first, second := p.grouped("abort_older"), p.grouped("abort_older")
	p.eventually("the first is aborted", p.taskIs(first, "aborted"))
	p.eventually("the second is ready", p.taskIs(second, "ready"))
}

func lock(t testing.TB, tx pgx.Tx, statement string) {
	t.Helper()
	if _, err := tx.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}
