package transitions_test

import (
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
)

// rules writes what plans of version 2 add: what becomes of a task that has something to be decided or is in a group, and of
// what needs another.
func (m *matrix) rules() {
	m.decisions()
	m.starts()
	nothing := m.planWith("stages: [{stage: s, steps: [{sh: a}]}]", func(p *pipeline.Plan) { p.Trigger = pipeline.Trigger{Reason: "r"} })
	m.exec("delete from events")
	m.write("run_create (starts nothing)", "run", "–", subject{}, nil, "select state from runs where id = $1", m.runPlan(nothing))
	m.exec("delete from runs where plan_digest = $1", nothing)
}

// decisions calls what jobs call, from every state.
func (m *matrix) decisions() {
	const grouped = "group_project = (select project_id from runs r where r.id = run_id), group_name = 'g', group_limit = 1, on_conflict = 'abort_older'"
	decide := func(runs bool) func(s subject) error {
		return func(s subject) error { _, err := m.decide(s.task, runs, "r", `{"/env/A": "b"}`); return err }
	}
	for _, move := range []struct {
		name, given string
		call        func(s subject) error
	}{
		{"task_decide runs", "undecided = true", decide(true)},
		{"task_decide does not run", "undecided = true", decide(false)},
		{"task_fail", "undecided = true", func(s subject) error {
			_, err := m.q.TaskFail(m.ctx(), db.TaskFailParams{Task: s.task, Reason: "r", Actor: "t"})
			return err
		}},
		{"group_promote", grouped, func(s subject) error {
			_, err := m.q.GroupPromote(m.ctx(), db.GroupPromoteParams{Project: m.project(), Name: "g", Actor: "t"})
			return err
		}},
		{"task_supersede", grouped, func(s subject) error {
			newer := m.arrange("running", "blocked")
			m.exec("update tasks set "+grouped+" where id = $1", newer.task)
			_, err := m.q.TaskSupersede(m.ctx(), db.TaskSupersedeParams{Task: s.task, Run: newer.run, Actor: "t"})
			m.exec("delete from runs where id = $1", newer.run)
			return err
		}},
	} {
		for _, from := range taskStates {
			s := m.arrange("running", from)
			m.exec("update tasks set "+move.given+" where id = $1", s.task)
			m.write(move.name, "task", from, s, move.call(s), "select state from tasks where id = $1", s.task)
			m.exec("delete from runs where id = $1", s.run)
		}
	}
}

// starts writes where a task goes that would start, and what needs another.
func (m *matrix) starts() {
	agent := m.agent(`{}`)
	for _, move := range []struct {
		name, outcome string
		rule          func(*pipeline.Task)
	}{
		{"starts, to be decided", "succeeded", later},
		{"starts, group free", "succeeded", group(2, pipeline.ConflictWait)},
		{"starts, group full", "succeeded", group(1, pipeline.ConflictWait)},
		{"starts, abort_older", "succeeded", group(1, pipeline.ConflictAbortOlder)},
		{"starts, group full, skip", "succeeded", group(1, pipeline.ConflictSkip)},
		{"need succeeded", "succeeded", needs("n")},
		{"need failed", "failed", needs("n")},
		{"need failed, always", "failed", both(always, needs("n"))},
	} {
		for _, entity := range []string{"task", "stage"} {
			holder := m.runPlan(m.grouped(1, pipeline.ConflictWait))
			m.exec("update tasks set priority = -1 where run_id = $1", holder)
			run := m.runPlan(m.planWith(`stages: [{stage: n, steps: [{sh: n}]}, {stage: b, steps: [{sh: b}]}]`, change(tasks{"b": move.rule})))
			l := m.leaseOne(agent)
			m.exec("delete from events")
			m.exec("delete from river.river_job")
			_, err := m.tryFinish(l, move.outcome)
			query := map[string]string{"task": "select state from tasks where run_id = $1 order by stage_index desc limit 1", "stage": "select state from stages where run_id = $1 order by index desc limit 1"}
			m.write(move.name, entity, "waiting", subject{}, err, query[entity], run)
			m.exec("delete from runs where id in ($1, $2)", run, holder)
		}
	}
}
