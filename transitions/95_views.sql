-- The views of an operator. Their names and columns are stable; docs/operations.md shows how to use them.


create view otto_api.runs as
select r.id as run, r.uuid as run_id, p.name as project, coalesce(l.name, '') as name, r.state, r.reason, r.warnings, r.trust,
       r.plan_digest as plan, r.source_digest as source, r.rerun_of, r.created_by, r.created_at, r.started_at, r.finished_at,
       coalesce(r.finished_at, otto.clock()) - r.created_at as age, r.repository, r.ref, r.commit_sha as commit
  from runs r join projects p on p.id = r.project_id left join plans l on l.digest = r.plan_digest;

create view otto_api.tasks as
select t.id as task, t.run_id as run, s.name as stage, t.name, t.state, t.reason, t.epoch as attempt, t.retries, t.interrupts,
       a.name as agent, t.requires, t.exit_code, t.ready_at, t.started_at, t.finished_at
  from tasks t join stages s on s.id = t.stage_id left join leases l on l.id = t.lease_id left join agents a on a.id = l.agent_id;

-- What is ready waits for what its requirements wait for: asked once for all tasks of a project that have the same.
create view otto_api.waiting as
with kinds as materialized (
    select k.pool, k.project_id, k.requires, otto.agent_waited_for(k.pool, k.project_id, k.requires) as agent
      from (select distinct pool, project_id, requires from tasks where state = 'ready') k)
select t.id as task, t.run_id as run, t.name, t.state, otto.clock() - coalesce(t.ready_at, r.started_at, r.created_at) as waited,
       case when t.state = 'ready' and t.ready_at <= otto.clock() then (select k.agent from kinds k where k.pool = t.pool and k.project_id = t.project_id and k.requires = t.requires)
            else otto.task_waits_for(t) end as waiting_for
  from tasks t join runs r on r.id = t.run_id
 where r.finished_at is null and t.state in ('waiting', 'blocked', 'ready', 'scheduled', 'provisioning', 'quarantined');

create view otto_api.groups as
select p.name as project, t.group_name as name, count(*) filter (where t.state <> 'blocked') as active, count(*) filter (where t.state = 'blocked') as waiting,
       array_agg(t.id order by t.run_id, t.id) filter (where t.state <> 'blocked') as holders, min(t.run_id) filter (where t.state = 'blocked') as next_run
  from tasks t join projects p on p.id = t.group_project
 where t.group_name is not null and t.undecided is not true and t.state in ('blocked', 'ready', 'scheduled', 'provisioning', 'running')
 group by p.name, t.group_name;

create view otto_api.leases as
select l.id as lease, l.task_id as task, l.run_id as run, t.name, l.epoch as attempt, a.name as agent, l.cores, l.memory, l.warm, l.granted_at, l.started_at,
       l.expires_at, l.expires_at - otto.clock() as time_left, l.abort_at, l.abort_reason, 'S' || l.isolation as isolation
  from leases l join tasks t on t.id = l.task_id join agents a on a.id = l.agent_id where l.ended_at is null;

create view otto_api.agents as
select a.id as agent, a.name, a.pool, a.state, a.version, a.capacity,
       (select count(*) from leases l where l.agent_id = a.id and l.ended_at is null) as busy,
       (otto.agent_room(a.id)).cores as cores_left, (otto.agent_room(a.id)).memory as memory_left,
       a.offers, a.seen_at, otto.clock() - a.seen_at as silent, a.enrolled_at
  from agents a;

create view otto_api.queue_depth as
select p.name as project, t.pool, t.requires, count(*) as tasks, min(t.ready_at) as oldest, otto.clock() - min(t.ready_at) as waited,
       (select count(*) from agents a where a.state = 'online' and a.pool = t.pool and otto.fits(t.requires, a.offers)) as agents_that_fit
  from tasks t join projects p on p.id = t.project_id where t.state = 'ready' group by p.name, t.pool, t.requires;

create view otto_api.pools as
select p.name as pool, p.restricted, (select array_agg(j.name order by j.name) from pool_projects a join projects j on j.id = a.project_id where a.pool = p.name) as projects,
       (select count(*) from agents a where a.pool = p.name and a.state = 'online') as agents_online,
       (select count(*) from tasks t where t.pool = p.name and t.state = 'ready') as tasks_ready
  from pools p;

create view otto_api.slowest as
select t.name, p.name as project, count(*) as tasks,
       avg(t.finished_at - t.started_at) as mean, max(t.finished_at - t.started_at) as longest
  from tasks t join runs r on r.id = t.run_id join projects p on p.id = r.project_id
 where t.finished_at is not null and t.started_at is not null group by t.name, p.name;

create view otto_api.events as
select e.id as event, e.at, e.kind, e.run_id as run, s.name as stage, e.task_id as task, e.epoch as attempt, e.step, e.actor, e.data
  from events e left join stages s on s.id = e.stage_id;

create view otto_api.servers as
select s.name, s.started_at, s.seen_at, otto.clock() - s.seen_at as silent from servers s;
