package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// invariant is a promise as a query: each row that it answers is a sentence about how it is broken.
type invariant struct{ name, query string }

// always hold at any moment, whatever goes wrong, in every snapshot of the database.
func always() []invariant {
	return []invariant{
		{"a task has one result", `select format('task %s ended %s times', task_id, count(*)) from events where kind = 'task.completed' group by task_id having count(*) > 1`},
		{"an attempt has one result", `select format('task %s: %s results were taken, %s were followed by a retry', t.id, count(*), t.retries) from tasks t join leases l on l.task_id = t.id
			where l.end_reason = 'finished' group by t.id having count(*) > t.retries + 1`},
		{"only the current lease counts", `select format('lease %s of task %s is at work, and the task''s lease is %s', l.id, t.id, t.lease_id) from leases l join tasks t on t.id = l.task_id
			where l.ended_at is null and (t.lease_id is distinct from l.id or t.epoch <> l.epoch)`},
		{"an active task has a lease at work", `select format('task %s is %s without a lease at work', t.id, t.state) from tasks t
			where t.lease_id is not null and not exists (select from leases l where l.id = t.lease_id and l.ended_at is null)`},
		{"a final task ended by its last attempt", `select format('task %s ended by attempt %s, its last is %s', t.id, e.epoch, t.epoch) from events e join tasks t on t.id = e.task_id
			where e.kind = 'task.completed' and e.epoch is not null and e.epoch <> t.epoch`},
		{"a run with nothing to do is over", `select format('run %s is %s with nothing to do after: %s', id, state, (select string_agg(l.kind || coalesce(' ' || l.task_id, ''), ', ' order by l.tx, l.id)
			from (select * from events e where e.run_id = runs.id order by e.tx desc, e.id desc limit 8) l)) from runs where otto.run_is_stuck(id)`},
		{"a run ends with its tasks", `select format('run %s is %s, and its last task ended at %s', r.id, r.state, max(t.finished_at)) from runs r join tasks t on t.run_id = r.id
			where r.finished_at is null group by r.id having count(*) = count(t.finished_at) and max(t.finished_at) < now() - interval '20 seconds'`},
		{"a lost lease is noticed", `select format('lease %s of task %s ran out at %s', id, task_id, expires_at) from leases
			where ended_at is null and expires_at < now() - interval '45 seconds'`},
		{"a final run is finished", `select format('run %s is %s and its task %s is %s', r.id, r.state, t.id, t.state) from runs r join tasks t on t.run_id = r.id
			where r.finished_at is not null and t.finished_at is null`},
		{"stages count their tasks", `select format('stage %s says that %s tasks are left, %s are', s.id, s.tasks_left, count(t.id)) from stages s
			left join tasks t on t.stage_id = s.id and t.finished_at is null where s.state in ('waiting', 'running') group by s.id having s.tasks_left <> count(t.id)`},
		{"logs have no gap", `select format('log of lease %s: %s chunks with %s bytes, %s with %s were acknowledged', l.id, count(c.seq), coalesce(sum(c.bytes), 0), l.log_chunks, l.log_bytes)
			from leases l left join log_chunks c on c.lease_id = l.id where l.log_object is null group by l.id
			having count(c.seq) <> l.log_chunks or coalesce(sum(c.bytes), 0) <> l.log_bytes or coalesce(max(c.seq), -1) <> l.log_chunks - 1`},
		{"a group has room for those at work", `select format('%s tasks are at work in group %s of project %s, whose limit is %s', count(*), group_name, group_project, max(group_limit)) from tasks
			where group_name is not null and state in ('ready', 'scheduled', 'provisioning', 'running') group by group_project, group_name having count(*) > max(group_limit)`},
		{"objects count their logs", `select format('object %s counts %s logs, %s are in it', p.object, p.logs, count(l.id)) from log_packs p
			left join leases l on l.log_object = p.object and l.log_expired_at is null group by p.object having count(l.id) <> p.logs`},
		{"no log that is needed is deleted", `select format('object %s of lease %s is to be deleted', g.object, l.id) from objects_gone g join leases l on l.log_object = g.object where l.log_expired_at is null`},
		{"no transaction lasts", `select format('%s has been in a transaction since %s', application_name, xact_start) from pg_stat_activity
			where application_name like 'otto%' and xact_start < now() - interval '30 seconds'`},
		{"nothing is quarantined", `select format('task %s: %s', id, reason) from tasks where state = 'quarantined'`},
	}
}

// atTheEnd hold once everything is finished.
func atTheEnd() []invariant {
	return append(always(),
		invariant{"a stage is the worst of its tasks", `select format('stage %s is %s, its tasks come to %s', s.id, s.state, otto.state_of(w.worst)) from stages s,
			lateral (select max(case when e.data ? 'forgiven' then 1 else otto.severity(t.state) end)::smallint as worst from tasks t
			         join lateral (select data from events e where e.task_id = t.id and e.kind = 'task.' || t.state order by e.id desc limit 1) e on true where t.stage_id = s.id) w
			where s.state <> 'skipped' and otto.severity(s.state) <> w.worst`},
		invariant{"a run is the worst of its stages", `select format('run %s is %s, its stages come to %s', r.id, r.state, otto.state_of(max(otto.severity(s.state)))) from runs r join stages s on s.run_id = r.id
			where r.plan_digest is not null group by r.id having otto.severity(r.state) <> max(otto.severity(s.state))`},
		invariant{"nothing begins before what it needs", `select format('task %s was given to an agent before task %s, which it needs, had ended', t.id, n.id) from task_edges g join tasks n on n.id = g.need_id join tasks t on t.id = g.task_id
			join lateral (select e.tx, e.id from events e where e.task_id = t.id and e.kind = 'task.scheduled' order by e.tx, e.id limit 1) b on true
			join lateral (select e.tx, e.id from events e where e.task_id = n.id and e.kind = 'task.completed') c on true where (b.tx, b.id) < (c.tx, c.id)`},
		invariant{"no lease is at work", `select format('lease %s of task %s has not ended', id, task_id) from leases where ended_at is null`},
		invariant{"a task runs as often as its policy says", `select format('task %s: %s attempts began; %s retries and %s interrupts were counted', t.id, count(l.id), t.retries, t.interrupts) from tasks t join leases l on l.task_id = t.id
			where l.started_at is not null group by t.id having count(l.id) > t.retries + t.interrupts + 1`},
		invariant{"what must not be repeated is not", `select format('task %s must not be repeated when its agent is lost, and was %s times', t.id, t.interrupts) from tasks t join runs r on r.id = t.run_id
			join plan_tasks p on p.plan_digest = r.plan_digest and p.stage_index = t.stage_index and p.task_index = t.index
			where p.spec ->> 'on_lost' = 'fail' and t.interrupts > 0`},
	)
}

// unfinished is what the liveness phase waits for: runs, leases, logs.
const unfinished = `
	select format('run %s is %s; its tasks: %s', r.id, r.state, (select string_agg(t.id || ' ' || t.state || coalesce(' (' || otto.task_waits_for(t) || ')', ''), ', ') from tasks t where t.run_id = r.id and t.finished_at is null))
	  from runs r where r.finished_at is null
	union all select format('lease %s of task %s has not ended', id, task_id) from leases where ended_at is null
	union all select format('the log of lease %s of task %s is not in the store: ended as %s, %s bytes of %s, complete: %s; last job: %s', l.id, l.task_id, l.end_reason, l.log_bytes, l.log_total, l.log_done_at is not null,
		(select j.state || coalesce(': ' || (j.errors[array_length(j.errors, 1)] ->> 'error'), '') from river.river_job j where j.kind = 'log_compact' order by j.id desc limit 1))
	  from leases l where l.ended_at is not null and l.log_object is null and (l.log_bytes > 0 or l.log_done_at is null)`

const (
	watchPause   = 500 * time.Millisecond
	watchTimeout = 10 * time.Second
)

// watch looks at the invariants until ctx ends. While the database is away there is nothing to see.
func watch(ctx context.Context, f *fleet, r *report) {
	for ctx.Err() == nil {
		for _, i := range always() {
			r.check(ctx, f, i)
		}
		r.Looks++
		wait(ctx, watchPause)
	}
}

// check looks at one invariant, and says whether it could.
func (r *report) check(ctx context.Context, f *fleet, i invariant) bool {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	rows, err := texts(ctx, f, i.query)
	for _, row := range rows {
		r.broken(i.name, row)
	}
	return err == nil
}

// texts asks for a column of sentences.
func texts(ctx context.Context, f *fleet, query string, args ...any) ([]string, error) {
	rows, err := f.pg.admin.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
