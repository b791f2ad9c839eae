package transitions_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
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
			defer renewing.Rollback(w.ctx())
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

// What a task waits for is said by what it is, and by what the agents and stages are now.
func TestWaitingFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	waiting := func(task int64) string {
		return w.text("select coalesce(otto.task_waits_for(t), '-') from tasks t where t.id = $1", task)
	}
	want := func(when string, task int64, text string) {
		t.Helper()
		if got := waiting(task); got != text {
			t.Errorf("%s: waits for %q, want %q", when, got, text)
		}
	}
	run := w.run("stages: [{stage: one, mode: linear, tasks: [{task: a, steps: [{sh: a}]}, {task: b, steps: [{sh: b}]}]}, {stage: two, steps: [{sh: c}]}, {stage: three, steps: [{sh: d}]}]")
	tasks := must[[]int64](t)(idsOf(w, "select id from tasks where run_id = $1 order by id", run))
	want("no agent", tasks[0], "an agent: none is online")
	agent, off := w.agent(`{}`), w.agent(`{}`)
	must[db.Agent](t)(w.q.AgentBye(w.ctx(), db.AgentByeParams{Agent: off, Actor: "t"}))
	w.exec("update agents set capacity = 1")
	want("an idle agent", tasks[0], "an agent to ask for it")
	l := w.lease(agent, 1)[0]
	want("granted", l.TaskID, w.text("select 'agent ' || name || ' to start it' from agents where id = $1", agent))
	want("behind its sibling", tasks[1], "the tasks before it")
	want("in a later stage", tasks[3], "stage one")
	w.start(l)
	want("running", l.TaskID, "-")
	w.finish(l, "succeeded")
	want("final", l.TaskID, "-")
	want("an agent whose work is over", tasks[1], "an agent to ask for it")
	b := w.leaseOne(agent)
	other := w.run("steps: [{sh: a}]")
	want("a busy agent", must[[]int64](t)(idsOf(w, "select id from tasks where run_id = $1", other))[0], "room on an agent: all 1 that fit are busy")
	w.exec("update tasks set ready_at = otto.clock() + interval '1 hour' where run_id = $1", other)
	if got := waiting(int64(w.count("select id from tasks where run_id = $1", other))); !strings.HasPrefix(got, "the delay before its next attempt, until ") {
		t.Errorf("delayed: waits for %q", got)
	}
	w.finish(b, "succeeded")
	want("in the stage after", tasks[3], "stage two")
	must[db.Task](t)(w.q.TaskQuarantine(w.ctx(), db.TaskQuarantineParams{Task: tasks[2], Actor: "t", Reason: "its spec cannot be read"}))
	want("quarantined", tasks[2], "a person: its spec cannot be read")
}

// What a task waits for is said in a sentence: its needs, its decision, its group.
func TestWhatTasksWaitFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	holder := w.runPlan(w.grouped(1, pipeline.ConflictWait))
	w.leaseOne(agent)
	run := w.runPlan(w.planWith(diamond, change(tasks{"a": later, "b": group(1, pipeline.ConflictWait), "c": needs("a", "b"), "e": needs("c")})))
	for name, want := range map[string]string{
		"a": "its condition to be decided", "b": fmt.Sprintf("concurrency group g: a of run %d holds it", holder),
		"c": "the tasks it needs: a, b", "d": "stage " + w.text("select name from stages where run_id = $1 and index = 0", run), "e": "the task it needs: c",
	} {
		if got := w.text("select waiting_for from otto_api.waiting where task = $1", w.id(run, name)); got != want {
			t.Errorf("%s waits for %q, want %q", name, got, want)
		}
	}
	if got := w.text("select format('%s %s %s %s', name, active, waiting, next_run) from otto_api.groups"); got != fmt.Sprint("g 1 1 ", run) {
		t.Errorf("groups: %s", got)
	}
}

// Requirements are written as people do, whatever their type.
func TestRequiresText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := w.text("select otto.requires_text($1)", `{"cores": 2, "memory": 2147483648, "disk": 20000000000, "odd": 1048577, "os": "linux", "tools": ["git", "helm"], "gpu": true, "go": {"<": "2", ">=": "1.25"}, "java": {"!=": "21"}}`)
	if want := "cores>=2, disk>=20GB, go>=1.25 <2, gpu=true, java!=21, memory>=2GiB, odd>=1048577, os=linux, tools=git+helm"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
