package transitions_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
)

func group(limit int, on pipeline.OnConflict) func(*pipeline.Task) {
	return func(t *pipeline.Task) {
		t.Concurrency = &pipeline.Concurrency{Group: "g", Limit: limit, OnConflict: on}
	}
}

const single = "stages: [{stage: a, steps: [{sh: a}]}]"

// grouped stores a plan of one task, a, in group g.
func (w *world) grouped(limit int, on pipeline.OnConflict) string {
	w.t.Helper()
	return w.planWith(single, change(tasks{"a": group(limit, on)}))
}

func (w *world) project() int64 { return int64(w.count("select id from projects where name = 'p'")) }

func (w *world) promote() bool {
	w.t.Helper()
	return must[bool](w.t)(w.q.GroupPromote(w.ctx(), db.GroupPromoteParams{Project: w.project(), Name: "g", Actor: "job"}))
}

// supersede does what the job does.
func (w *world) supersede() {
	w.t.Helper()
	for _, s := range must[[]db.GroupSupersededRow](w.t)(w.q.GroupSuperseded(w.ctx(), db.GroupSupersededParams{Project: w.project(), Name: "g"})) {
		must[db.Task](w.t)(w.q.TaskSupersede(w.ctx(), db.TaskSupersedeParams{Task: s.Task, Run: s.Run, Actor: "job"}))
	}
}

// wantAll compares the states of the first task of several runs.
func (w *world) wantAll(runs []int64, states ...string) {
	w.t.Helper()
	for i, run := range runs {
		if got := w.task(w.id(run, "a")).State; got != states[i] {
			w.t.Errorf("run %d of %d: %s, want %s", i, len(runs), got, states[i])
		}
	}
}

func (w *world) several(plan string, n int) (runs []int64) {
	w.t.Helper()
	for range n {
		runs = append(runs, w.runPlan(plan))
	}
	return runs
}

// As many as the limit says are at work; the others wait, and the oldest goes next.
func TestGroupWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	runs := w.several(w.grouped(2, pipeline.ConflictWait), 5)
	w.wantAll(runs, "ready", "ready", "blocked", "blocked", "blocked")
	if got := w.task(w.id(runs[2], "a")).Reason; *got != "concurrency: g" {
		t.Errorf("reason %s", *got)
	}
	w.end(agent, runs[1], "a", "failed")
	w.wantAll(runs, "ready", "failed", "ready", "blocked", "blocked")
	must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: runs[3], Actor: "t"}))
	must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: runs[0], Actor: "t"}))
	w.wantAll(runs, "aborted", "failed", "ready", "aborted", "ready")
	if w.jobs("group_promote") != 0 {
		t.Error("a job for what could be done at once")
	}
	other := must[db.Run](t)(w.q.RunCreate(w.ctx(), db.RunCreateParams{Project: "other", Plan: w.runRow(runs[0]).PlanDigest, Actor: "t"}))
	w.wantAll([]int64{other.ID}, "ready") // a group of that name of another project
	if got := w.kinds(runs[4]); fmt.Sprint(got) != "[run.created run.planned run.started stage.started task.blocked task.ready]" {
		t.Errorf("events %v", got)
	}
}

// An attempt that is to be repeated keeps its place; a task that is parked does not.
func TestGroupPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	retried := w.planWith(single, change(tasks{"a": both(group(1, pipeline.ConflictWait), func(t *pipeline.Task) { t.Retries = &pipeline.Retries{Limit: 1, On: []string{"failed"}} })}))
	runs := w.several(retried, 3)
	l := w.leaseOne(agent)
	w.finish(l, "failed")
	w.wantAll(runs, "ready", "blocked", "blocked")
	l = w.leaseOne(agent)
	must[db.Task](t)(w.q.TaskQuarantine(w.ctx(), db.TaskQuarantineParams{Task: l.TaskID, Actor: "t", Reason: "r"}))
	w.wantAll(runs, "quarantined", "ready", "blocked")
	must[db.Task](t)(w.q.TaskAbort(w.ctx(), db.TaskAbortParams{Task: w.id(runs[1], "a"), Actor: "t"}))
	w.wantAll(runs, "quarantined", "aborted", "ready")
}

// The limit of the task that enters counts, and the oldest that fits goes first.
func TestGroupLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := w.grouped(1, pipeline.ConflictWait), w.grouped(2, pipeline.ConflictWait)
	runs := []int64{w.runPlan(two), w.runPlan(one), w.runPlan(two), w.runPlan(two)}
	w.wantAll(runs, "ready", "blocked", "ready", "blocked")
	must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: runs[0], Actor: "t"}))
	w.wantAll(runs, "aborted", "blocked", "ready", "ready")
	must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: runs[3], Actor: "t"}))
	must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: runs[2], Actor: "t"}))
	w.wantAll(runs, "aborted", "ready", "aborted", "aborted")
}

// A task that does not wait is skipped when its group is full; what needs it is, too, and its stages go on.
func TestGroupSkips(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	first := w.runPlan(w.grouped(1, pipeline.ConflictWait))
	run := w.runPlan(w.planWith(three, change(tasks{"a": group(1, pipeline.ConflictSkip), "c": needs("a")})))
	w.want(run, "running: skipped[a=skipped] running[b=ready] skipped[c=skipped]")
	if got := w.task(w.id(run, "a")).Reason; *got != "concurrency: g" {
		t.Errorf("reason %s", *got)
	}
	linear := w.runPlan(w.planWith(`stages: [{stage: s, mode: linear, tasks: [{task: a, steps: [{sh: a}]}, {task: b, steps: [{sh: b}]}]}]`,
		change(tasks{"a": group(1, pipeline.ConflictSkip)})))
	w.want(linear, "running: running[a=skipped b=ready]")
	w.end(agent, first, "a", "succeeded")
	w.wantAll([]int64{w.runPlan(w.grouped(1, pipeline.ConflictSkip))}, "ready")
}

// Many in a row that are skipped are no trouble.
func TestGroupSkipsMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.runPlan(w.grouped(1, pipeline.ConflictWait))
	ottofile, given := "stages: [{stage: s, mode: linear, tasks: [", tasks{}
	for i := range 220 {
		ottofile += fmt.Sprintf("{task: t%d, steps: [{sh: a}]}, ", i)
		given[fmt.Sprint("t", i)] = group(1, pipeline.ConflictSkip)
	}
	run := w.runPlan(w.planWith(ottofile+"]}]", change(given)))
	for jobs := range 5 { // each goes on where the transaction before it stopped
		if want := min(50*(jobs+1), 220); w.count("select count(*) from tasks where run_id = $1 and state = 'skipped'", run) != want {
			t.Errorf("not %d are skipped after %d jobs", want, jobs)
		}
		w.promote()
	}
	if got := w.runRow(run).State; got != "skipped" {
		t.Errorf("the run is %s", got)
	}
}

// A newer run takes the place of older ones: those that run are told to stop, those that wait end.
func TestGroupSupersedes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	plan := w.grouped(1, pipeline.ConflictAbortOlder)
	runs := w.several(plan, 1)
	l := w.leaseOne(agent)
	if w.jobs("group_supersede") != 0 {
		t.Error("a job without a conflict")
	}
	runs = append(runs, w.several(plan, 2)...)
	w.wantAll(runs, "running", "blocked", "blocked")
	if w.jobs("group_supersede") != 2 {
		t.Errorf("%d jobs for 2 conflicts", w.jobs("group_supersede"))
	}
	w.supersede()
	w.supersede() // what was told to stop is not told twice
	w.wantAll(runs, "running", "aborted", "blocked")
	orders := must[[]db.LeaseAbortsRow](t)(w.q.LeaseAborts(w.ctx(), []int64{agent}))
	want := fmt.Sprint("superseded by run ", runs[2])
	if len(orders) != 1 || orders[0].Level != "abort" || orders[0].Reason != want || *w.task(w.id(runs[1], "a")).Reason != want {
		t.Errorf("orders %+v, reason %s", orders, *w.task(w.id(runs[1], "a")).Reason)
	}
	w.finish(l, "aborted")
	w.wantAll(runs, "aborted", "aborted", "ready")
	_, err := w.q.TaskSupersede(w.ctx(), db.TaskSupersedeParams{Task: w.id(runs[2], "a"), Run: runs[2], Actor: "t"})
	wantRefusal(t, err, db.Conflict, "is ready: cannot supersede")
}

// A task of an older run that comes late gives way to the newer.
func TestGroupOlderGivesWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	old := w.runPlan(w.planWith("stages: [{stage: z, steps: [{sh: z}]}, {stage: a, steps: [{sh: a}]}]", change(tasks{"a": group(1, pipeline.ConflictAbortOlder)})))
	newer := w.runPlan(w.grouped(1, pipeline.ConflictAbortOlder))
	w.end(agent, old, "z", "succeeded")
	w.wantAll([]int64{old, newer}, "blocked", "ready")
	w.supersede()
	w.wantAll([]int64{old, newer}, "aborted", "ready")
	waits := w.runPlan(w.grouped(1, pipeline.ConflictWait))
	w.supersede() // one that waits supersedes nobody
	w.wantAll([]int64{newer, waits}, "ready", "blocked")
}

// Who enters has been decided before; and what is decided enters.
func TestGroupAfterDecision(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	runs := w.several(w.planWith(single, change(tasks{"a": both(later, group(1, pipeline.ConflictWait))})), 2)
	w.wantAll(runs, "blocked", "blocked")
	if w.promote() {
		t.Error("late")
	}
	w.wantAll(runs, "blocked", "blocked")
	must[db.Task](t)(w.decide(w.id(runs[1], "a"), true, "", ""))
	w.wantAll(runs, "blocked", "ready")
	must[db.Task](t)(w.decide(w.id(runs[0], "a"), true, "", ""))
	if got := w.task(w.id(runs[0], "a")); got.State != "blocked" || *got.Reason != "concurrency: g" {
		t.Errorf("%s for %s", got.State, *got.Reason)
	}
	w.end(agent, runs[1], "a", "succeeded")
	w.wantAll(runs, "ready", "succeeded")
}

// What somebody else holds is left to a job, and nobody waits for it.
func TestGroupBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	hold := func(lock string, args ...any) pgx.Tx {
		tx := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
		must[any](t)(tx.Exec(w.ctx(), lock, args...))
		return tx
	}
	runs := w.several(w.grouped(1, pipeline.ConflictWait), 2)
	group := hold("select pg_advisory_xact_lock(hashtext('otto.group'), hashtext($1::bigint || '/g'))", w.project())
	w.end(agent, runs[0], "a", "succeeded")
	skips := w.runPlan(w.grouped(1, pipeline.ConflictSkip))
	runs = append(runs, skips, w.runPlan(w.grouped(1, pipeline.ConflictWait)))
	w.wantAll(runs, "succeeded", "blocked", "blocked", "blocked")
	if w.jobs("group_promote") != 3 {
		t.Errorf("%d jobs for 3 that came too early", w.jobs("group_promote"))
	}
	must[any](t)(nil, group.Rollback(w.ctx()))

	run := hold("select otto.lock_run($1)", runs[1])
	if !w.promote() {
		t.Error("nothing is left, though a run is held")
	}
	w.wantAll(runs, "succeeded", "blocked", "skipped", "blocked")
	must[any](t)(nil, run.Rollback(w.ctx()))
	if w.promote() {
		t.Error("something is left, though no run is held")
	}
	w.wantAll(runs, "succeeded", "ready", "skipped", "blocked")

	run = hold("select otto.lock_run($1)", runs[3])
	w.end(agent, runs[1], "a", "succeeded")
	w.wantAll(runs, "succeeded", "succeeded", "skipped", "blocked")
	must[any](t)(nil, run.Rollback(w.ctx()))
	w.exec("delete from river.river_job")
	if n := must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t")).Admitting; n != 1 || w.jobs("group_promote") != 1 {
		t.Errorf("the reconciler found %d groups", n)
	}
	if n := must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t")).Admitting; n != 0 {
		t.Errorf("the reconciler found %d groups again", n)
	}
	w.promote()
	w.wantAll(runs, "succeeded", "succeeded", "skipped", "ready")
	w.exec("delete from river.river_job")
	if n := must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t")).Admitting; n != 0 {
		t.Errorf("the reconciler found %d groups in which nobody waits", n)
	}
}

// The job waits for whoever counts the group, and leaves a task that does not wait to whoever holds its run.
func TestGroupPromoteWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(4)
	agent := w.agent(`{}`)
	first := w.runPlan(w.grouped(1, pipeline.ConflictWait))
	counting := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
	must[any](t)(counting.Exec(w.ctx(), "select otto.group_lock_free($1, 'g')", w.project()))
	skips := w.runPlan(w.grouped(1, pipeline.ConflictSkip))
	w.wantAll([]int64{first, skips}, "ready", "blocked")
	late, project := make(chan bool, 2), w.project()
	promote := func() {
		answer, err := w.q.GroupPromote(context.Background(), db.GroupPromoteParams{Project: project, Name: "g", Actor: "job"})
		if err != nil {
			t.Error(err)
		}
		late <- answer
	}
	must[any](t)(counting.Exec(w.ctx(), "select otto.lock_run($1)", skips))
	go promote()
	w.untilBlocked()
	must[any](t)(nil, counting.Rollback(w.ctx()))
	if <-late {
		t.Error("late, though all was free in the end")
	}
	w.wantAll([]int64{first, skips}, "ready", "skipped")

	w.end(agent, first, "a", "succeeded")
	second := w.runPlan(w.grouped(1, pipeline.ConflictWait))
	skips = w.runPlan(w.grouped(1, pipeline.ConflictSkip))
	w.exec("update tasks set state = 'blocked', finished_at = null where run_id = $1", skips)
	holding := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
	must[any](t)(holding.Exec(w.ctx(), "select otto.lock_run($1)", skips))
	if promote(); !<-late {
		t.Error("not late, though a run was held")
	}
	w.wantAll([]int64{second, skips}, "ready", "blocked")
	must[any](t)(nil, holding.Rollback(w.ctx()))
}

// Who takes runs one by one, waiting for each, promotes nobody: it would lock runs in another order than others do.
func TestGroupOfALostAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	runs := w.several(w.planWith(single, change(tasks{"a": both(group(1, pipeline.ConflictWait), func(t *pipeline.Task) { t.OnLost = pipeline.OnLostFail })})), 2)
	w.leaseOne(agent)
	if err := w.hello(agent); err != nil {
		t.Fatal(err)
	}
	w.wantAll(runs, "failed", "blocked")
	if w.jobs("group_promote") != 1 {
		t.Errorf("%d jobs", w.jobs("group_promote"))
	}
	w.promote()
	w.wantAll(runs, "failed", "ready")
}

// The reconciler finds conflicts that no job knows of.
func TestSupersedingIsFoundAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.several(w.grouped(1, pipeline.ConflictAbortOlder), 2)
	w.exec("delete from river.river_job")
	if n := must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t")).Admitting; n != 1 || w.jobs("group_supersede") != 1 {
		t.Errorf("found %d", n)
	}
}

// Eight runs with places for two are worked by eight at once: never are more at work, none is left behind, and what could not
// be done at once was left to a job.
func TestGroupRaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(10)
	agent := w.agent(`{}`)
	plan := w.grouped(2, pipeline.ConflictWait)
	for round := range 15 {
		contend(t, 8, func(i int) error {
			run, err := w.q.RunCreate(context.Background(), db.RunCreateParams{Project: "p", Plan: &plan, Actor: "t"})
			if err != nil {
				return err
			}
			for range 50 {
				ls, err := w.q.TaskLease(context.Background(), db.TaskLeaseParams{Slots: []int64{agent}, Actor: "t"})
				if err != nil {
					return err
				}
				for _, l := range ls {
					if n := w.count("select count(*) from tasks where state in ('ready', 'scheduled', 'running')"); n > 2 {
						return fmt.Errorf("%d at work", n)
					}
					if _, err := w.tryStart(held{Lease: l}); err != nil {
						return err
					}
					if _, err := w.tryFinish(held{Lease: l}, "succeeded"); err != nil {
						return err
					}
				}
				if w.count("select count(*) from tasks where run_id = $1 and state = 'succeeded'", run.ID) == 1 {
					return nil
				}
				if _, err := w.q.GroupPromote(context.Background(), db.GroupPromoteParams{Project: w.project(), Name: "g", Actor: "t"}); err != nil {
					return err
				}
			}
			return nil
		})
		for left := 1; left > 0; {
			for w.promote() {
			}
			w.work(agent, nil)
			left = w.count("select count(*) from tasks where finished_at is null and state = 'ready'")
		}
		if n := w.count("select count(*) from tasks where finished_at is null"); n != 0 {
			t.Fatalf("round %d: %d tasks are left behind", round, n)
		}
	}
}
