package transitions_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/db"
)

// A report on one lease waits for the heartbeat that is renewing it, and is then done: it is never answered undone.
func TestReportWaitsForHeartbeat(t *testing.T) {
	t.Parallel()
	for name, report := range map[string]struct {
		start bool
		do    func(w *world, l held) (db.Task, error)
		state string
	}{
		"start":  {false, (*world).tryStart, "running"},
		"finish": {true, func(w *world, l held) (db.Task, error) { return w.tryFinish(l, "succeeded") }, "succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t).widen(2)
			w.run("steps: [{sh: a}]")
			l := w.lease(w.agent(`{}`), 1)[0]
			if report.start {
				w.start(l)
			}
			renewing := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
			if _, err := renewing.Exec(w.ctx(), "update leases set expires_at = expires_at where id = $1", l.ID); err != nil {
				t.Fatal(err)
			}
			answer := make(chan db.Task, 1)
			go func() {
				defer close(answer)
				task, err := report.do(w, l)
				if err != nil {
					t.Error(err)
				}
				answer <- task
			}()
			for waits := 0; waits == 0 && len(answer) == 0; {
				waits = w.count("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")
			}
			if err := renewing.Commit(w.ctx()); err != nil {
				t.Fatal(err)
			}
			if told, is := <-answer, w.task(l.TaskID); told.State != report.state || is.State != report.state {
				t.Errorf("it was told %q, the task is %q", told.State, is.State)
			}
		})
	}
}
