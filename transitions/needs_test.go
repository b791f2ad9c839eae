package transitions_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
)

func needs(names ...string) func(*pipeline.Task) {
	return func(t *pipeline.Task) { t.Needs = append([]string{}, names...) }
}

func both(fs ...func(*pipeline.Task)) func(*pipeline.Task) {
	return func(t *pipeline.Task) {
		for _, f := range fs {
			f(t)
		}
	}
}

func always(t *pipeline.Task) { t.Always = true }

// id finds a task of a run by its name.
func (w *world) id(run int64, name string) int64 {
	w.t.Helper()
	return int64(w.count("select id from tasks where run_id = $1 and name = $2", run, name))
}

// end runs one ready task, found by its name, to its end.
func (w *world) end(agent, run int64, name, outcome string) {
	w.t.Helper()
	w.exec("update tasks set priority = 1 where id = $1", w.id(run, name))
	l := w.leaseOne(agent)
	if l.name != name {
		w.t.Fatalf("%s is not ready; the first is %s", name, l.name)
	}
	w.finish(l, outcome)
}

const diamond = `stages:
  - {parallel: [{task: a, steps: [{sh: a}]}, {task: b, steps: [{sh: b}]}]}
  - {parallel: [{task: c, steps: [{sh: c}]}, {task: d, steps: [{sh: d}]}]}
  - {stage: e, steps: [{sh: e}]}`

// A task with needs waits for these and not for its stage; the others of the stage wait for the stages before.
func TestNeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	run := w.runPlan(w.planWith(diamond, change(tasks{"c": needs("a"), "e": needs("a", "c")})))
	w.want(run, "running: running[a=ready b=ready] waiting[c=waiting d=waiting] waiting[e=waiting]")
	w.end(agent, run, "a", "succeeded")
	w.want(run, "running: running[a=succeeded b=ready] running[c=ready d=waiting] waiting[e=waiting]")
	w.end(agent, run, "c", "unstable")
	w.want(run, "running: running[a=succeeded b=ready] running[c=unstable d=waiting] running[e=ready]")
	w.end(agent, run, "e", "succeeded")
	w.want(run, "running: running[a=succeeded b=ready] running[c=unstable d=waiting] succeeded[e=succeeded]")
	w.end(agent, run, "b", "succeeded")
	w.want(run, "running: succeeded[a=succeeded b=succeeded] running[c=unstable d=ready] succeeded[e=succeeded]")
	w.end(agent, run, "d", "succeeded")
	w.want(run, "unstable: succeeded[a=succeeded b=succeeded] unstable[c=unstable d=succeeded] succeeded[e=succeeded]")
	if n := w.count("select count(*) from events where run_id = $1 and kind = 'stage.started'", run); n != 3 {
		t.Errorf("%d starts of 3 stages", n)
	}
}

// Outcomes of what is needed, and what becomes of what needs it.
func TestNeedsOutcomes(t *testing.T) {
	t.Parallel()
	const linear = `stages: [{stage: s, mode: linear, tasks: [{task: a, steps: [{sh: a}]}, {task: b, steps: [{sh: b}]}, {task: c, steps: [{sh: c}]}]}]`
	forgive := func(t *pipeline.Task) { t.AllowFailure = true }
	for name, c := range map[string]struct {
		ottofile    string
		tasks       tasks
		outcomes    map[string]string
		begin, want string
	}{
		"nothing": {three, tasks{"c": needs()}, nil, "running: running[a=ready] waiting[b=waiting] running[c=ready]", "succeeded: succeeded[a=succeeded] succeeded[b=succeeded] succeeded[c=succeeded]"},
		"nothing_and_the_run_fails": {three, tasks{"c": needs()}, map[string]string{"a": "failed"}, "running: running[a=ready] waiting[b=waiting] running[c=ready]",
			"failed: failed[a=failed] skipped[b=skipped] succeeded[c=succeeded]"},
		"a_healthy_part_goes_on": {diamond, tasks{"c": needs("b"), "e": needs("c")}, map[string]string{"a": "failed"}, "running: running[a=ready b=ready] waiting[c=waiting d=waiting] waiting[e=waiting]",
			"failed: failed[a=failed b=succeeded] succeeded[c=succeeded d=skipped] succeeded[e=succeeded]"},
		"a_failure_passes_on": {diamond, tasks{"c": needs("a"), "d": needs(), "e": needs("c")}, map[string]string{"a": "failed"}, "running: running[a=ready b=ready] running[c=waiting d=ready] waiting[e=waiting]",
			"failed: failed[a=failed b=succeeded] succeeded[c=skipped d=succeeded] skipped[e=skipped]"},
		"an_abort_passes_on": {diamond, tasks{"c": needs("a"), "e": needs("c")}, map[string]string{"a": "aborted"}, "running: running[a=ready b=ready] waiting[c=waiting d=waiting] waiting[e=waiting]",
			"aborted: aborted[a=aborted b=succeeded] skipped[c=skipped d=skipped] skipped[e=skipped]"},
		"a_skipped_stage_passes_on": {three, tasks{"c": needs("b")}, map[string]string{"a": "failed"}, "running: running[a=ready] waiting[b=waiting] waiting[c=waiting]",
			"failed: failed[a=failed] skipped[b=skipped] skipped[c=skipped]"},
		"forgiven": {three, tasks{"a": forgive, "c": needs("a")}, map[string]string{"a": "failed"}, "running: running[a=ready] waiting[b=waiting] waiting[c=waiting]",
			"succeeded: succeeded[a=failed] succeeded[b=succeeded] succeeded[c=succeeded]"},
		"omitted_is_fulfilled": {three, tasks{"b": omitted, "c": needs("b")}, nil, "running: running[a=ready] waiting[b=skipped] running[c=ready]", "succeeded: succeeded[a=succeeded] skipped[b=skipped] succeeded[c=succeeded]"},
		"one_of_two_omitted":   {three, tasks{"b": omitted, "c": needs("b", "a")}, nil, "running: running[a=ready] waiting[b=skipped] waiting[c=waiting]", "succeeded: succeeded[a=succeeded] skipped[b=skipped] succeeded[c=succeeded]"},
		"always": {diamond, tasks{"c": both(always, needs("a")), "e": both(always, needs("c", "d"))}, map[string]string{"a": "failed"}, "running: running[a=ready b=ready] waiting[c=waiting d=waiting] waiting[e=waiting]",
			"failed: failed[a=failed b=succeeded] succeeded[c=succeeded d=skipped] succeeded[e=succeeded]"},
		"linear_order_is_ignored": {linear, tasks{"b": needs()}, map[string]string{"a": "failed"}, "running: running[a=ready b=ready c=waiting]", "failed: failed[a=failed b=succeeded c=skipped]"},
		"linear_follows_others":   {linear, tasks{"a": needs("c")}, nil, "running: running[a=waiting b=ready c=waiting]", "succeeded: succeeded[a=succeeded b=succeeded c=succeeded]"},
		"fanout_aborts":           {fanout, tasks{"b": needs("a")}, map[string]string{"a": "failed"}, "running: running[a=ready b=waiting] waiting[c=waiting]", "failed: failed[a=failed b=aborted] skipped[c=skipped]"},
		"backwards":               {three, tasks{"a": needs("b"), "b": needs("c"), "c": needs()}, nil, "running: waiting[a=waiting] waiting[b=waiting] running[c=ready]", "succeeded: succeeded[a=succeeded] succeeded[b=succeeded] succeeded[c=succeeded]"},
		"named_twice":             {three, tasks{"c": needs("a", "a")}, nil, "running: running[a=ready] waiting[b=waiting] waiting[c=waiting]", "succeeded: succeeded[a=succeeded] succeeded[b=succeeded] succeeded[c=succeeded]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			run := w.runPlan(w.planWith(c.ottofile, change(c.tasks)))
			w.want(run, c.begin)
			w.work(w.agent(`{}`), c.outcomes)
			w.want(run, c.want)
		})
	}
}

// Who was skipped for what it needs says so; a long chain of them is no trouble.
func TestNeedFailedReasons(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ottofile, given := "stages:\n", tasks{}
	for i := range 600 {
		ottofile += fmt.Sprintf("  - {stage: t%d, steps: [{sh: a}]}\n", i)
		if i > 0 {
			given[fmt.Sprint("t", i)] = needs(fmt.Sprint("t", i-1))
		}
	}
	run := w.runPlan(w.planWith(ottofile, change(given)))
	w.work(w.agent(`{}`), map[string]string{"t0": "failed"})
	if got := w.runRow(run).State; got != "failed" {
		t.Errorf("the run is %s", got)
	}
	if n := w.count("select count(*) from tasks where state = 'skipped' and reason = 'need_failed: t' || (substr(name, 2)::int - 1)"); n != 599 {
		t.Errorf("%d of 599 tasks say which need has failed", n)
	}
	if n := w.count("select count(*) from events where kind = 'task.skipped' and data ->> 'reason' like 'need_failed: %'"); n != 599 {
		t.Errorf("%d of 599 events say so", n)
	}
}

// A stage is opened once, though some of its tasks ran early, and passed over only if none did.
func TestEarlyStages(t *testing.T) {
	t.Parallel()
	t.Run("what_ran_early_keeps_its_outcome", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		agent := w.agent(`{}`)
		run := w.runPlan(w.planWith(diamond, change(tasks{"c": needs()})))
		w.end(agent, run, "c", "failed")
		w.want(run, "running: running[a=ready b=ready] running[c=failed d=waiting] waiting[e=waiting]")
		w.end(agent, run, "a", "succeeded")
		w.end(agent, run, "b", "succeeded")
		w.want(run, "running: succeeded[a=succeeded b=succeeded] running[c=failed d=ready] waiting[e=waiting]")
		w.end(agent, run, "d", "succeeded")
		w.want(run, "failed: succeeded[a=succeeded b=succeeded] failed[c=failed d=succeeded] skipped[e=skipped]")
	})
	t.Run("a_later_failure_stops_nothing_before", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		agent := w.agent(`{}`)
		run := w.runPlan(w.planWith(three, change(tasks{"c": needs()})))
		w.end(agent, run, "c", "failed")
		w.want(run, "running: running[a=ready] waiting[b=waiting] failed[c=failed]")
		w.end(agent, run, "a", "succeeded")
		w.want(run, "running: succeeded[a=succeeded] running[b=ready] failed[c=failed]")
		w.end(agent, run, "b", "succeeded")
		w.want(run, "failed: succeeded[a=succeeded] succeeded[b=succeeded] failed[c=failed]")
	})
	t.Run("is_opened_once_though_a_later_one_ends_with_those_before", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		run := w.runPlan(w.planWith(`stages: [{stage: a, steps: [{sh: a}]}, {stage: s, mode: linear, tasks: [{task: b, steps: [{sh: b}]}, {task: c, steps: [{sh: c}]}]}, {stage: d, steps: [{sh: d}]}]`,
			func(p *pipeline.Plan) {
				p.Stages[0].OnFailure = true
				p.Stages[2].Tasks[0].Needs = []string{"a"}
			}))
		w.want(run, "running: skipped[a=skipped] running[b=ready c=waiting] skipped[d=skipped]")
	})
	t.Run("on_failure_sees_what_is_before", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		agent := w.agent(`{}`)
		run := w.runPlan(w.planWith(three, func(p *pipeline.Plan) {
			p.Stages[1].Tasks[0].Needs = []string{}
			p.Stages[2].OnFailure = true
			p.Stages[2].Tasks[0].Needs = []string{} // the stage decides all the same
		}))
		w.want(run, "running: running[a=ready] running[b=ready] waiting[c=waiting]")
		w.end(agent, run, "b", "failed")
		w.want(run, "running: running[a=ready] failed[b=failed] waiting[c=waiting]")
		w.end(agent, run, "a", "succeeded")
		w.want(run, "running: succeeded[a=succeeded] failed[b=failed] running[c=ready]")
	})
	t.Run("a_linear_stage_keeps_its_order", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		agent := w.agent(`{}`)
		run := w.runPlan(w.planWith(`stages: [{stage: a, steps: [{sh: a}]}, {stage: s, mode: linear, tasks: [{task: b, steps: [{sh: b}]}, {task: c, steps: [{sh: c}]}, {task: d, steps: [{sh: d}]}]}]`,
			change(tasks{"c": needs()})))
		w.end(agent, run, "c", "succeeded")
		w.want(run, "running: running[a=ready] running[b=waiting c=succeeded d=waiting]")
		w.end(agent, run, "a", "succeeded")
		w.want(run, "running: succeeded[a=succeeded] running[b=ready c=succeeded d=waiting]")
		w.end(agent, run, "b", "succeeded")
		w.want(run, "running: succeeded[a=succeeded] running[b=succeeded c=succeeded d=ready]")
	})
	t.Run("a_stage_that_was_reached_starts_with_what_it_needs", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		agent := w.agent(`{}`)
		run := w.runPlan(w.planWith(three, change(tasks{"b": needs("c"), "c": needs()})))
		w.end(agent, run, "a", "succeeded")
		w.want(run, "running: succeeded[a=succeeded] waiting[b=waiting] running[c=ready]")
		w.end(agent, run, "c", "succeeded")
		w.want(run, "running: succeeded[a=succeeded] running[b=ready] succeeded[c=succeeded]")
	})
}

// An abort stops what waits for its needs; what is marked always runs when they are over.
func TestNeedsAndAbort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	run := w.runPlan(w.planWith(three, change(tasks{"b": needs("a"), "c": both(always, needs("a", "b"))})))
	l := w.leaseOne(agent)
	must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run, Actor: "t"}))
	w.want(run, "aborting: running[a=running] aborted[b=aborted] waiting[c=waiting]")
	w.finish(l, "aborted")
	w.want(run, "aborting: aborted[a=aborted] aborted[b=aborted] running[c=ready]")
	w.work(agent, nil)
	w.want(run, "aborted: aborted[a=aborted] aborted[b=aborted] succeeded[c=succeeded]")

	one := w.runPlan(w.planWith(three, change(tasks{"c": needs("b")})))
	must[db.Task](t)(w.q.TaskAbort(w.ctx(), db.TaskAbortParams{Task: w.id(one, "b"), Actor: "t"}))
	w.want(one, "running: running[a=ready] aborted[b=aborted] skipped[c=skipped]")
}

// What is over stays as it is, whatever becomes of what it needed; and its stage does not start for it.
func TestNeedsLeaveWhatIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	for outcome, want := range map[string]string{
		"succeeded": "running: succeeded[a=succeeded b=ready] waiting[c=aborted d=waiting] aborted[e=aborted]",
		"failed":    "running: failed[a=failed b=ready] waiting[c=aborted d=waiting] aborted[e=aborted]",
	} {
		run := w.runPlan(w.planWith(diamond, change(tasks{"c": needs("a"), "e": needs("c")})))
		for _, name := range []string{"e", "c"} {
			must[db.Task](t)(w.q.TaskAbort(w.ctx(), db.TaskAbortParams{Task: w.id(run, name), Actor: "t"}))
		}
		w.end(agent, run, "a", outcome)
		w.want(run, strings.Replace(want, outcome+"[a", "running[a", 1))
		must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run, Actor: "t"}))
	}
	run := w.runPlan(w.planWith(diamond, change(tasks{"c": needs("a"), "d": needs("b"), "e": needs("c", "d")})))
	must[db.Task](t)(w.q.TaskAbort(w.ctx(), db.TaskAbortParams{Task: w.id(run, "e"), Actor: "t"}))
	w.end(agent, run, "a", "failed")
	w.want(run, "running: running[a=failed b=ready] waiting[c=skipped d=waiting] aborted[e=aborted]")
}

// A need that is no task of the plan parks the task; needs in a circle do once nothing else moves. Neither is waited for without a word.
func TestNeedsThatCannotBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	unknown := w.runPlan(w.planWith(three, change(tasks{"b": needs("a", "nobody")})))
	w.work(agent, nil)
	w.want(unknown, "running: succeeded[a=succeeded] waiting[b=quarantined] waiting[c=waiting]")
	if got := w.task(w.id(unknown, "b")).Reason; got == nil || *got != "needs nobody, which is no task of the plan" {
		t.Errorf("reason %v", got)
	}
	circle := w.runPlan(w.planWith(three, change(tasks{"b": needs("c"), "c": needs("b")})))
	w.work(agent, nil)
	must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t"))
	w.want(circle, "running: succeeded[a=succeeded] waiting[b=quarantined] waiting[c=quarantined]")
	must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: circle, Actor: "t"}))
	w.want(circle, "aborted: succeeded[a=succeeded] aborted[b=aborted] aborted[c=aborted]")
}

// A count of needs that is wrong is put right when nothing moves.
func TestNeedsAreRepaired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	run := w.runPlan(w.planWith(three, change(tasks{"b": needs("a"), "c": needs("b")})))
	w.exec("update tasks set needs_left = needs_left + 1 where run_id = $1 and name = 'b'", run)
	w.work(agent, nil)
	w.want(run, "running: succeeded[a=succeeded] waiting[b=waiting] waiting[c=waiting]")
	must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t"))
	w.want(run, "running: succeeded[a=succeeded] running[b=ready] waiting[c=waiting]")
}

// The last two needs of a task finish at once, over and over: it becomes ready once.
func TestTwoLastNeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(8)
	agent := w.agent(`{}`)
	plan := w.planWith(diamond, change(tasks{"e": needs("a", "b")}))
	for i := range 60 {
		run := w.runPlan(plan)
		ls := w.lease(agent, 2)
		for _, l := range ls {
			w.start(l)
		}
		if won := contend(t, 2, func(i int) error { _, err := w.tryFinish(ls[i], "succeeded"); return err }); won != 2 {
			t.Fatalf("round %d: %d results taken", i, won)
		}
		w.want(run, "running: succeeded[a=succeeded b=succeeded] running[c=ready d=ready] running[e=ready]")
		if n := w.count("select count(*) from events where task_id = $1 and kind = 'task.ready'", w.id(run, "e")); n != 1 {
			t.Fatalf("round %d: ready %d times", i, n)
		}
		must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run, Actor: "t"}))
	}
}

// What needs cost at a finish depends on who needs the task, not on how many tasks the run has.
func TestNeedsAreLookedUpByKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var b strings.Builder
	b.WriteString("stages:\n  - parallel: [{task: a, steps: [{sh: a}]}")
	for i := range 300 {
		fmt.Fprintf(&b, ", {task: w%d, steps: [{sh: w}]}", i)
	}
	b.WriteString("]\n  - {stage: z, steps: [{sh: z}]}\n")
	agent := w.agent(`{}`)
	server := must[*pgxpool.Pool](t)(db.Open(w.ctx(), db.Config{URL: w.db.URL})) // plans as servers have them
	t.Cleanup(server.Close)
	reads := func(plan string) (n int) {
		run := w.runPlan(plan)
		w.exec("analyze")
		w.exec("update tasks set priority = 1 where id = $1", w.id(run, "a"))
		l := w.leaseOne(agent)
		tx := must[pgx.Tx](t)(server.Begin(w.ctx()))
		defer tx.Rollback(w.ctx())
		must[any](t)(tx.Exec(w.ctx(), `select from otto.task_finish($1, $2, $3, null, 0, null, '[{"index": 0, "state": "succeeded"}]', '{}', 't')`, l.ID, l.Epoch, l.AgentID))
		const read = "select coalesce(sum(idx_tup_fetch + seq_tup_read), 0)::bigint from pg_stat_xact_user_tables where relname in ('tasks', 'task_edges')"
		if err := tx.QueryRow(w.ctx(), read).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	without, with := reads(w.plan(b.String())), reads(w.planWith(b.String(), change(tasks{"z": needs("a")})))
	if with > without+50 {
		t.Errorf("%d rows were read, %d without needs", with, without)
	}
}
