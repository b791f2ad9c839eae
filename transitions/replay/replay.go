// Package replay rebuilds the state of a run from its events alone, and compares that with the rows: the proof that
// events tell everything, in an order that can be followed.
package replay

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// DB is a pool or a connection that may read the tables.
type DB interface {
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
}

// States are those of a run, its stages, tasks and steps, by what they are: "task 7" → "running attempt 2". A task that has
// not been given to an agent says why it is where it is: "task 8" → "blocked attempt 0 (condition)".
type States map[string]string

// Difference says where the rows of a run and the replay of its events differ, a line for each; empty if nowhere.
func Difference(ctx context.Context, db DB, run int64) (string, error) {
	rows, err := Rows(ctx, db, run)
	if err != nil {
		return "", err
	}
	events, err := Events(ctx, db, run)
	if err != nil {
		return "", err
	}
	return diff(rows, events), nil
}

func diff(rows, events States) string {
	both := maps.Clone(rows)
	maps.Copy(both, events)
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(both)) {
		if rows[what] != events[what] {
			fmt.Fprintf(&b, "%s is %q, its events say %q\n", what, rows[what], events[what])
		}
	}
	return b.String()
}

// Rows reads the states as they are.
func Rows(ctx context.Context, db DB, run int64) (States, error) {
	return pairs(ctx, db, `
		select 'run', state from runs where id = $1
		union all select 'stage ' || id, state from stages where run_id = $1
		union all select 'task ' || id, concat(state, ' attempt ', epoch, case when state in ('blocked', 'skipped', 'quarantined') then ' (' || reason || ')' end) from tasks where run_id = $1
		union all select 'auction ' || id, state from auctions where run_id = $1
		union all select 'award ' || id, coalesce(end_reason, 'living') from awards where run_id = $1
		union all select format('step %s %s.%s', s.task_id, s.epoch, s.index), s.state from steps s join tasks t on t.id = s.task_id where t.run_id = $1`, run)
}

// layout reads what exists once a run is planned: the plan says that, not the events.
func layout(ctx context.Context, db DB, run int64) (States, error) {
	return pairs(ctx, db, `
		select 'stage ' || id, 'waiting' from stages where run_id = $1
		union all select 'task ' || id, 'waiting attempt 0' from tasks where run_id = $1`, run)
}

func pairs(ctx context.Context, db DB, query string, run int64) (States, error) {
	rows, err := db.Query(ctx, query, run)
	if err != nil {
		return nil, err
	}
	out := States{}
	var what, state string
	_, err = pgx.ForEachRow(rows, []any{&what, &state}, func() error { out[what] = state; return nil })
	return out, err
}

// event is a row of the history, with the number of steps of its task.
type event struct {
	kind        string
	stage, task int64
	epoch       int
	step        int
	steps       int
	reason      string
	subject     string // the auction or the award
}

// Events replays the events, in the order in which readers get them.
func Events(ctx context.Context, db DB, run int64) (States, error) {
	planned, err := layout(ctx, db, run)
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(ctx, `
		select e.kind, coalesce(e.stage_id, 0), coalesce(e.task_id, 0), coalesce(e.epoch, 0), coalesce(e.step, 0), coalesce(json_array_length(p.spec -> 'steps'), 0),
		       coalesce(' (' || (e.data ->> 'reason') || ')', ''), coalesce(e.data ->> 'award', e.data ->> 'auction', '')
		  from events e join runs r on r.id = e.run_id left join tasks t on t.id = e.task_id
		  left join plan_tasks p on p.plan_digest = r.plan_digest and p.stage_index = t.stage_index and p.task_index = t.index
		 where e.run_id = $1 order by e.tx, e.id`, run)
	if err != nil {
		return nil, err
	}
	out, attempts := States{}, map[int64]int{}
	var e event
	_, err = pgx.ForEachRow(rows, []any{&e.kind, &e.stage, &e.task, &e.epoch, &e.step, &e.steps, &e.reason, &e.subject}, func() error {
		out.apply(e, planned, attempts)
		return nil
	})
	return out, err
}

// apply follows one event. Some only announce: what they lead to has an event of its own.
func (s States) apply(e event, planned States, attempts map[int64]int) {
	entity, state, _ := strings.Cut(e.kind, ".")
	switch e.kind {
	case "run.planned":
		maps.Copy(s, planned)
		return
	case "run.repaired", "task.decided", "task.aborting", "task.interrupted", "task.revoked", "log.truncated", "bid.received", "award.taken":
		return
	}
	switch entity {
	case "auction":
		s["auction "+e.subject] = map[bool]string{true: "open", false: state}[e.kind == "auction.started"]
		return
	case "award":
		s["award "+e.subject] = awardState(e)
		return
	}
	switch state {
	case "completed":
		return
	case "created":
		state = "pending"
	case "started":
		state = "running"
	case "requeued", "retrying":
		state = "ready"
	}
	switch entity {
	case "run":
		s["run"] = state
	case "stage":
		s[fmt.Sprint("stage ", e.stage)] = state
	case "task":
		if state == "scheduled" {
			attempts[e.task] = e.epoch
			for i := range e.steps {
				s[fmt.Sprintf("step %d %d.%d", e.task, e.epoch, i)] = "waiting"
			}
		}
		why := ""
		if state == "blocked" || state == "skipped" || state == "quarantined" {
			why = e.reason
		}
		s[fmt.Sprint("task ", e.task)] = fmt.Sprint(state, " attempt ", attempts[e.task], why)
	case "step":
		s[fmt.Sprintf("step %d %d.%d", e.task, e.epoch, e.step)] = state
	}
}

// awardState is what an award's event makes of it.
func awardState(e event) string {
	switch e.kind {
	case "award.granted":
		return "living"
	case "award.revoked":
		return strings.Trim(e.reason, " ()")
	}
	return strings.TrimPrefix(e.kind, "award.")
}
