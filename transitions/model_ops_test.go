package transitions_test

import (
	"cmp"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
	"github.com/ottoci/otto/transitions/replay"
)

// machine is the model and the database side by side. Each of its actions does the same to both.
type machine struct {
	*world
	agent  int64
	now    time.Duration // since the clock was stopped
	runs   []*modelRun
	leases []*modelLease

	bidders      []*modelBidder
	auctionsOpen []*modelAuction
	awards       []*modelAward
}

// Random operations, one after the other, on random plans: after each, the model and the rows agree in every state, and
// the model refuses what the functions refuse, by the same code. -rapid.checks sets how many sequences.
func TestModel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{world: w, agent: agent}
		w.exec("truncate runs cascade")
		dbtest.SetClock(t, w.db, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
		m.market()
		m.create(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"": m.compare, "create": m.create, "rerun": m.rerun, "lease": m.lease, "start": m.start, "finish": m.finish, "Finish": m.finish,
			"release": m.release, "interrupt": m.interrupt, "abort_run": m.abortRun, "abort_task": m.abortTask, "clock": m.clock,
			"decide": m.decideOne, "Decide": m.decideOne, "supersede": m.supersedeAll,
			"auction": m.auction, "close": m.closeOne, "Close": m.closeOne, "expire": m.expire, "give_back": m.giveBack, "arrive": m.arrive, "Arrive": m.arrive,
		})
		m.replay(rt)
	})
}

// compare finds the first row that differs.
func (m *machine) compare(t *rapid.T) {
	for _, r := range m.runs {
		if got := m.rowsOf(r.id); got != r.String() {
			t.Fatalf("run %d\nthe rows are\n%s\nthe model says\n%s\nof\n%s", r.id, got, r, r.plan)
		}
	}
}

// replay rebuilds what has come of it all from the events alone.
func (m *machine) replay(t *rapid.T) {
	for _, r := range m.runs {
		if d := must[string](m.t)(replay.Difference(m.ctx(), m.db.Owner, r.id)); d != "" {
			t.Fatalf("run %d:\n%s", r.id, d)
		}
	}
}

// rowsOf writes a run's rows down as modelRun does.
func (m *machine) rowsOf(run int64) (text string) {
	m.t.Helper()
	const rows = `select format('run %s warned=%s', r.state, case when r.warnings then 'true' else 'false' end) || coalesce((
		select string_agg(format(E'\n  stage %s %s left=%s warned=%s', s.index, s.state, s.tasks_left, case when s.warnings then 'true' else 'false' end) || (
			select string_agg(format(E'\n    task %s %s attempt=%s retries=%s interrupts=%s ended=%s awards=%s', t.name, t.state, t.epoch, t.retries, t.interrupts,
			         (select string_agg(coalesce(l.end_reason, 'open'), ',' order by l.epoch) from leases l where l.task_id = t.id),
			         (select string_agg(coalesce(w.end_reason, 'living'), ',' order by coalesce(w.end_reason, 'living') collate "C") from awards w where w.task_id = t.id)), '' order by t.index)
			  from tasks t where t.stage_id = s.id), '' order by s.index) from stages s where s.run_id = r.id), '') from runs r where r.id = $1`
	if err := m.db.Owner.QueryRow(m.ctx(), rows, run).Scan(&text); err != nil {
		m.t.Fatal(err)
	}
	return text
}

// one draws one of several by its number, which reads better than all that it points to.
func one[T any](t *rapid.T, what string, from []T) T {
	return from[rapid.IntRange(0, len(from)-1).Draw(t, what)]
}

// refused compares a refusal with the code that the model expects; none is "".
func refused(t *rapid.T, what string, err error, want string) {
	t.Helper()
	r, ok := db.AsRefusal(err)
	switch {
	case err != nil && !ok:
		t.Fatalf("%s: %v", what, err)
	case err == nil && want != "":
		t.Fatalf("%s: done, the model refuses it with %s", what, want)
	case err != nil && r.Code != want:
		t.Fatalf("%s: %s %s, the model says %q", what, r.Code, r.Message, want)
	}
}

func (m *machine) create(t *rapid.T) {
	if len(m.runs) == 3 {
		t.Skip("enough runs")
	}
	p := drawPlan(t)
	m.add(p, m.runPlan(m.world.planWith(p.ottofile(), p.change)))
}

// add is run_create with a plan, in the model.
func (m *machine) add(p modelPlan, id int64) {
	r := &modelRun{id: id, state: "running", plan: p, machine: m}
	ids := must[[]db.TasksOfRunRow](m.t)(m.q.TasksOfRun(m.ctx(), id))
	byName := map[string]*modelTask{}
	var free []*modelTask
	for _, sp := range p {
		s := &modelStage{modelStagePlan: sp, run: r, state: "waiting"}
		for _, tp := range sp.tasks {
			t := &modelTask{modelTaskPlan: tp, id: ids[0].Task.ID, stage: s, state: "waiting", needsLeft: -1, undecided: tp.later}
			t.always = t.always || s.always
			ids, byName[t.name] = ids[1:], t
			s.tasks = append(s.tasks, t)
			if s.left++; t.omitted {
				t.state, t.undecided, t.group.Group = "skipped", false, ""
				s.left--
				continue
			}
			if t.needs == nil || s.onFailure {
				continue
			}
			t.needsLeft = 0
			for _, name := range t.needs {
				if need := byName[name]; !need.omitted {
					t.needsLeft++
					need.neededBy = append(need.neededBy, t)
				}
			}
			if t.needsLeft == 0 {
				free = append(free, t)
			}
		}
		r.stages = append(r.stages, s)
	}
	m.runs = append(m.runs, r)
	begin(free, m.now)
	r.advance(m.now)
}

func (m *machine) rerun(t *rapid.T) {
	r := one(t, "run", m.runs)
	if len(m.runs) == 6 {
		t.Skip("enough runs")
	}
	again, err := m.q.RunRerun(m.ctx(), db.RunRerunParams{Run: r.id, Actor: "t"})
	if !isFinal(r.state) {
		refused(t, "rerun", err, db.Conflict)
		return
	}
	refused(t, "rerun", err, "")
	m.add(r.plan, again.ID)
}

// lease takes some: by age, then in the order of their making.
func (m *machine) lease(t *rapid.T) {
	n := rapid.IntRange(1, 3).Draw(t, "slots")
	var ready []*modelTask
	for _, r := range m.runs {
		for _, s := range r.stages {
			for _, task := range s.tasks {
				if task.state == "ready" && task.readyAt <= m.now {
					ready = append(ready, task)
				}
			}
		}
	}
	slices.SortFunc(ready, func(a, b *modelTask) int {
		return cmp.Or(cmp.Compare(a.readyAt, b.readyAt), cmp.Compare(a.id, b.id))
	})
	got := m.world.lease(m.agent, n)
	ready = ready[:min(n, len(ready))]
	slices.SortFunc(ready, func(a, b *modelTask) int { return cmp.Compare(a.id, b.id) })
	if len(got) != len(ready) {
		t.Fatalf("%d leases for %d slots, the model gives %d", len(got), n, len(ready))
	}
	for i, task := range ready {
		task.epoch++
		task.state = "scheduled"
		if got[i].TaskID != task.id || int(got[i].Epoch) != task.epoch {
			t.Fatalf("a lease of task %d attempt %d, the model gives task %d attempt %d", got[i].TaskID, got[i].Epoch, task.id, task.epoch)
		}
		task.lease = &modelLease{row: got[i].Lease, task: task, startBy: m.now + modelStart, expiresAt: m.now + modelTTL, end: "open"}
		m.leases, task.leases = append(m.leases, task.lease), append(task.leases, task.lease)
	}
}

// some draws a lease, mostly one that is not over.
func (m *machine) some(t *rapid.T) *modelLease {
	from := slices.DeleteFunc(slices.Clone(m.leases), func(l *modelLease) bool { return !l.holds() })
	if len(from) == 0 || rapid.IntRange(0, 5).Draw(t, "any lease") == 5 {
		from = m.leases
	}
	if len(from) == 0 {
		t.Skip("no lease")
	}
	return one(t, "lease", from)
}

func fencedUnless(holds bool) string {
	if holds {
		return ""
	}
	return db.Conflict
}

func (m *machine) start(t *rapid.T) {
	l := m.some(t)
	_, err := m.tryStart(held{Lease: l.row})
	refused(t, "start", err, fencedUnless(l.holds()))
	if l.holds() && l.task.state == "scheduled" {
		l.started, l.task.state = true, "running"
	}
}

func (m *machine) finish(t *rapid.T) {
	l, outcome := m.some(t), rapid.SampledFrom([]string{"succeeded", "succeeded", "unstable", "failed", "aborted"}).Draw(t, "outcome")
	_, err := m.tryFinish(held{Lease: l.row}, outcome)
	refused(t, "finish", err, fencedUnless(l.holds() || l.end == "finished"))
	if l.holds() {
		l.end = "finished"
		l.task.finished(outcome, "failed", l.ordered, m.now)
	}
}

func (m *machine) release(t *rapid.T) {
	l := m.some(t)
	_, err := m.q.TaskRelease(m.ctx(), db.TaskReleaseParams{Lease: l.row.ID, Epoch: l.row.Epoch, Agent: l.row.AgentID, Log: json.RawMessage(`{}`), Actor: "t"})
	refused(t, "release", err, fencedUnless(l.holds() || l.end == "released"))
	if l.holds() {
		l.lost("released", m.now)
	}
}

// interrupt is the reaper with a reason that may not hold.
func (m *machine) interrupt(t *rapid.T) {
	l, why := m.some(t), rapid.SampledFrom([]string{"expired", "not_started", "unconfirmed"}).Draw(t, "why")
	_, err := m.q.TaskInterrupt(m.ctx(), db.TaskInterruptParams{Lease: l.row.ID, Epoch: l.row.Epoch, Why: why, Actor: "t"})
	holds := l.holds() && map[string]bool{
		"expired":     l.expiresAt < m.now && !l.ordered,
		"not_started": !l.started && l.startBy < m.now,
		"unconfirmed": l.ordered && l.orderedAt+modelSilence < m.now && l.expiresAt < m.now,
	}[why]
	refused(t, "interrupt "+why, err, fencedUnless(holds))
	if holds {
		l.lost(why, m.now)
	}
}

func (m *machine) abortRun(t *rapid.T) {
	r := one(t, "run", m.runs)
	_, err := m.q.RunAbort(m.ctx(), db.RunAbortParams{Run: r.id, Actor: "t"})
	refused(t, "abort run", err, fencedUnless(!isFinal(r.state)))
	if isFinal(r.state) {
		return
	}
	again := r.state == "aborting"
	r.state = "aborting"
	r.stop(nil, again, m.now)
	r.advance(m.now)
}

func (m *machine) abortTask(t *rapid.T) {
	r := one(t, "run", m.runs)
	if len(r.stages) == 0 {
		t.Skip("no task")
	}
	task := one(t, "task", one(t, "stage", r.stages).tasks)
	_, err := m.q.TaskAbort(m.ctx(), db.TaskAbortParams{Task: task.id, Actor: "t"})
	refused(t, "abort task", err, fencedUnless(!isFinal(task.state)))
	switch {
	case isFinal(task.state):
	case task.state == "running":
		task.lease.order(m.now)
	default:
		task.abandon("aborted")
		task.finished("aborted", "", true, m.now)
	}
}

// decideOne is the job that decides, or finds that it cannot.
func (m *machine) decideOne(t *rapid.T) {
	var blocked, all []*modelTask
	for _, r := range m.runs {
		for _, s := range r.stages {
			all = append(all, s.tasks...)
			for _, task := range s.tasks {
				if task.state == "blocked" {
					blocked = append(blocked, task)
				}
			}
		}
	}
	if len(blocked) == 0 || rapid.IntRange(0, 5).Draw(t, "any task") == 5 {
		blocked = all
	}
	if len(blocked) == 0 {
		t.Skip("no task")
	}
	task, how := one(t, "task", blocked), rapid.SampledFrom([]string{"runs", "runs", "does not", "fails"}).Draw(t, "how")
	var err error
	if how == "fails" {
		_, err = m.q.TaskFail(m.ctx(), db.TaskFailParams{Task: task.id, Reason: "r", Actor: "t"})
	} else {
		_, err = m.decide(task.id, how == "runs", "r", "{}")
	}
	holds := task.state == "blocked" && task.undecided
	refused(t, "decide", err, fencedUnless(holds))
	switch {
	case !holds:
	case how == "runs":
		task.undecided, task.state = false, "waiting"
		enter([]*modelTask{task}, m.now)
	case how == "does not":
		task.undecided, task.state = false, "skipped"
		endAll([]modelEnd{{task: task, fulfilled: true}}, m.now)
	default:
		task.finished("failed", "failed", false, m.now)
	}
}

// supersedeAll is the job that aborts what newer runs do not wait for; the one that lets tasks in has nothing to do here.
func (m *machine) supersedeAll(t *rapid.T) {
	project := m.project()
	for _, group := range []string{"g", "h"} {
		if must[bool](m.t)(m.q.GroupPromote(m.ctx(), db.GroupPromoteParams{Project: project, Name: group, Actor: "t"})) {
			t.Fatalf("something is left to do for group %s", group)
		}
		tasks := append(m.in(group, true), m.in(group, false)...)
		tasks = slices.DeleteFunc(tasks, func(x *modelTask) bool { return m.superseded(x) == 0 })
		found := must[[]db.GroupSupersededRow](m.t)(m.q.GroupSuperseded(m.ctx(), db.GroupSupersededParams{Project: project, Name: group}))
		slices.SortFunc(tasks, func(a, b *modelTask) int { return cmp.Compare(a.id, b.id) })
		if len(found) != len(tasks) {
			t.Fatalf("%d tasks of group %s are superseded, the model says %d", len(found), group, len(tasks))
		}
		for i, task := range tasks {
			_, err := m.q.TaskSupersede(m.ctx(), db.TaskSupersedeParams{Task: task.id, Run: found[i].Run, Actor: "t"})
			holds := !isFinal(task.state) && m.superseded(task) == found[i].Run
			refused(t, "supersede", err, fencedUnless(holds))
			switch {
			case !holds:
			case task.state == "running":
				task.lease.order(m.now)
			default:
				task.abandon("aborted")
				task.finished("aborted", "", true, m.now)
			}
		}
	}
}

// clock moves on, and the agent renews some of its leases.
func (m *machine) clock(t *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{time.Second, 11 * time.Second, 31 * time.Second, 61 * time.Second}).Draw(t, "by")
	m.now += d
	dbtest.AdvanceClock(m.t, m.db, d)
	for _, l := range m.leases {
		if l.holds() && rapid.Bool().Draw(t, "renew") {
			must[[]db.Lease](m.t)(m.q.LeaseRenew(m.ctx(), db.LeaseRenewParams{Agent: l.row.AgentID, Held: []uuid.UUID{l.row.ID}}))
			l.expiresAt = m.now + modelTTL
		}
	}
}
