-- The transitions of a task.

-- tasks_ready: waiting → ready. Internal: a stage that starts, the task before it, or what it needs makes a task ready. One that
-- has something to be decided: waiting → blocked; and one of a concurrency group asks for its place there.
create function otto.tasks_ready(acts otto.act[])
returns otto.new_event[] language plpgsql as $$
declare news new_event[]; undecided bigint[]; n int;
begin
    if acts is null then return '{}'; end if;
    with u as (
        update tasks t set state = case when t.undecided then 'blocked' else 'ready' end, reason = case when t.undecided then 'condition' end,
               ready_at = case when t.undecided then null else clock() end
          from unnest(acts) a where t.id = a.id and t.state = 'waiting' and (t.group_name is null or t.undecided)
        returning t.run_id, t.stage_id, t.id, t.state, t.reason, a.actor
    )
    select array_agg(row('task.' || u.state, false, u.actor, u.run_id, u.stage_id, u.id, null, null,
                         case when u.state = 'blocked' then jsonb_build_object('reason', u.reason) end)::new_event order by u.id),
           array_agg(u.id order by u.id) filter (where u.state = 'blocked'), count(*)
      into news, undecided, n from u;
    perform wake('ready');
    if undecided is not null then perform enqueue('task_decide', jsonb_build_object('task', i)) from unnest(undecided) i; end if;
    if n < cardinality(acts) then return coalesce(news, '{}') || groups_enter(acts); end if;
    return news;
end $$;

-- tasks_skip: waiting → skipped, since their run does not go on to them. Internal: who calls it settles them.
create function otto.tasks_skip(acts otto.act[])
returns otto.new_event[] language plpgsql as $$
declare news new_event[];
begin
    if acts is null then return '{}'; end if;
    with w as materialized (  -- once for each stage, however many tasks it has
        select s.id, stage_stops_at(s) as reason
          from (select distinct t.stage_id from unnest(acts) a join tasks t on t.id = a.id) d join stages s on s.id = d.stage_id
    ), u as (
        update tasks t set state = 'skipped', reason = w.reason, finished_at = clock()
          from unnest(acts) a join tasks i on i.id = a.id join w on w.id = i.stage_id where t.id = i.id and t.state = 'waiting'
        returning t.run_id, t.stage_id, t.id, t.reason, a.actor
    )
    select array_agg(row('task.skipped', true, u.actor, u.run_id, u.stage_id, u.id, null, null, jsonb_build_object('reason', u.reason))::new_event order by u.id) into news from u;
    return news;
end $$;

-- task_lease: ready → scheduled. Grants the next tasks that fit, one for each slot: fairly between projects, and by priority and age in
-- each. A slot is the id of an agent with room for a task, and warm names for each slot the project that its agent has worked for. What fits
-- is asked of the first agent, so call it with agents that can take the same tasks; one that cannot take what would be its task gets none.
create function otto.task_lease(slots bigint[], actor text, warm bigint[] default null)
returns setof leases language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare a agents; queues queue[]; rooms room[]; rivals boolean; granted uuid[]; news new_event[];
begin
    select array_agg(s.id order by s.n), case when count(s.warm) > 0 then array_agg(s.warm order by s.n) end into slots, warm
      from unnest(slots, task_lease.warm) with ordinality s(id, warm, n) join agents i on i.id = s.id where i.state = 'online';
    select * into a from agents where id = slots[1];
    select q.queues, q.rooms, q.rivals into queues, rooms, rivals from queues_choose(a, slots) q;
    if coalesce(cardinality(queues), 0) = 0 then return; end if;
    select g.granted, g.news into granted, news from tasks_grant(a.pool, queues, slots, warm, rooms, actor) g;
    if granted is null then return; end if;
    if rivals then perform pool_charge(a.pool, array(select t.project_id from leases l join tasks t on t.id = l.task_id where l.id = any(granted))); end if;
    perform steps_lay_out(granted);

    perform emit(news);
    return query select * from leases where id = any(granted);
end $$;

-- tasks_grant takes tasks from the queues and gives them to slots. Internal.
create function otto.tasks_grant(pool text, queues otto.queue[], slots bigint[], warm bigint[], rooms otto.room[], actor text, out granted uuid[], out news otto.new_event[])
language plpgsql as $$
#variable_conflict use_column
declare c cluster;
begin
    select * into c from cluster;
    with picked as materialized (
        select t.id, q.project, q.requires, row_number() over () as n
          from unnest(queues) q, lateral (
               select t.id from tasks t
                where t.state = 'ready' and t.pool = tasks_grant.pool and t.project_id = q.project and task_kind(t.requires) = q.kind and t.ready_at <= clock()
                order by task_rank(t.ready_at, t.priority), t.id limit q.tasks for no key update skip locked) t
    ), placed as (
        select p.id as task, slots[p.n] as agent, null::boolean as warm from picked p where rooms is null and tasks_grant.warm is null
        union all
        select l.* from places(array(select row(p.id, p.project, p.requires)::pick from picked p order by p.n), slots, tasks_grant.warm, rooms) l where rooms is not null or tasks_grant.warm is not null
    ), scheduled as (
        update tasks t set state = 'scheduled', epoch = t.epoch + 1, lease_id = gen_random_uuid(), reason = null, exit_code = null
          from placed p join agents i on i.id = p.agent and i.pool = tasks_grant.pool where t.id = p.task and (t.requires = '{}' or fits(t.requires, i.offers))
        returning t.*, i.id as agent_id, i.name as agent, p.warm
    ), leased as (
        insert into leases (id, task_id, run_id, agent_id, epoch, granted_at, start_by, expires_at, warm, cores, memory)
        select s.lease_id, s.id, s.run_id, s.agent_id, s.epoch, clock(), clock() + c.start_within, clock() + c.lease_ttl, nullif(s.warm, false),
               case when rooms is not null then (reserves(s.requires)).cores end, case when rooms is not null then (reserves(s.requires)).memory end
          from scheduled s
    )
    select array_agg(s.lease_id),
           array_agg(row('task.scheduled', false, actor, s.run_id, s.stage_id, s.id, s.epoch, null, jsonb_build_object('agent', s.agent, 'agent_id', s.agent_id, 'warm', nullif(s.warm, false)))::new_event order by s.id)
      into granted, news from scheduled s;
end $$;

-- task_start: scheduled → running, by the holder of the lease. Repeating it changes nothing.
create function otto.task_start(lease uuid, epoch int, agent bigint, steps jsonb, actor text, isolation int default null)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
begin
    perform task_held(lease, epoch, agent, 'start');
    return query select * from tasks_start(jsonb_build_array(jsonb_build_object('lease', lease, 'epoch', epoch, 'agent', agent, 'steps', steps, 'actor', actor,
        'isolation', isolation)));
    if not found then return query select * from task_held(lease, epoch, agent, 'start'); end if;
end $$;

-- tasks_start is task_start for many: an array of reports. It answers the tasks that have started; those whose rows
-- somebody else holds are left out like those that are refused, so that it never waits: ask for these one by one.
create function otto.tasks_start(reports jsonb)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare held report[] := reports_held(reports, array['scheduled']); news new_event[];
begin
    if cardinality(held) = 0 then return; end if;
    update tasks t set state = 'running', started_at = coalesce(t.started_at, clock())
      from unnest(held) h where t.id = h.task_id;  -- locked, in one of these states
    update leases l set started_at = clock(), isolation = h.isolation, deadline_at = clock() + make_interval(secs => (p.spec ->> 'timeout_ms')::bigint / 1000.0) + interval '10 minutes'
      from unnest(held) h join tasks t on t.id = h.task_id join runs r on r.id = t.run_id
      join plan_tasks p on p.plan_digest = r.plan_digest and p.stage_index = t.stage_index and p.task_index = t.index
     where l.id = h.lease;

    news := array(select row('task.started', false, h.actor, h.run_id, h.stage_id, h.task_id, h.epoch, null, null)::new_event from unnest(held) h);
    perform emit(news || steps_record(held, false));
    return query select t.* from unnest(held) h join tasks t on t.id = h.task_id;
end $$;

-- reports_held reads an array of reports, locks what their leases hold, and completes them. Left out are those whose
-- lease does not hold a task in one of these states, and those whose rows somebody else has locked: it never waits. Internal.
create function otto.reports_held(reports jsonb, states text[])
returns otto.report[] language plpgsql as $$
begin
    return array(
        select row(l.id, l.epoch, l.agent_id, w.outcome, w.exit_code, w.reason, w.steps, w.log, w.actor, t.run_id, t.stage_id, t.id, l.abort_at is not null, w.outputs, w.isolation)::report
          from (select distinct on (p.lease) p.* from jsonb_populate_recordset(null::report, reports) p) w
          join leases l on l.id = w.lease and l.epoch = w.epoch and l.agent_id = w.agent
          join tasks t on t.id = l.task_id and t.lease_id = l.id
         where t.state = any(states)
           for no key update of t, l skip locked);
end $$;

-- task_held locks a lease and the task that it still holds; or refuses.
create function otto.task_held(lease uuid, epoch int, agent bigint, verb text)
returns setof tasks language plpgsql as $$
#variable_conflict use_column
begin
    return query select t.* from leases l join tasks t on t.id = l.task_id and t.lease_id = l.id
      where l.id = lease and l.epoch = task_held.epoch and l.agent_id = agent
        for no key update of t, l;
    if not found then perform refuse_lease(lease, epoch, agent, verb); end if;
end $$;

-- task_finish: scheduled, running → the worst of what the agent says and what the steps say; or → ready, when the task
-- is to be retried. Then the stage and the run advance. Repeating it changes nothing.
create function otto.task_finish(lease uuid, epoch int, agent bigint, outcome text, exit_code int, reason text, steps jsonb, log jsonb, actor text, outputs jsonb default null)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare l leases;
begin
    perform lock_run(l.run_id) from leases l where l.id = lease;
    select * into l from leases where id = lease;
    if l.end_reason = 'finished' and l.epoch = task_finish.epoch and l.agent_id = agent then
        return query select * from tasks where id = l.task_id;
        return;
    end if;
    perform task_held(lease, epoch, agent, 'finish');
    return query select * from tasks_finish(jsonb_build_array(jsonb_build_object('lease', lease, 'epoch', epoch, 'agent', agent, 'outcome', outcome,
        'exit_code', exit_code, 'reason', reason, 'steps', steps, 'log', log, 'actor', actor, 'outputs', outputs)));
end $$;

-- tasks_finish is task_finish for many: an array of reports. It answers the tasks that have ended or are to be retried. It
-- never waits, neither for a run nor for a row: what somebody else holds is left out, like what is refused or a repeat.
create function otto.tasks_finish(reports jsonb)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare held report[]; endings ending[]; news new_event[];
begin
    held := reports_held(runs_free(reports), array['scheduled', 'running']);
    if cardinality(held) = 0 then return; end if;
    news := steps_record(held, true);
    perform leases_end(held, 'finished');
    endings := array(
        select row(h.task_id, state_of(coalesce(greatest(severity(h.outcome), steps_worst(h.task_id, h.epoch)), 1::smallint)), h.exit_code,
                   coalesce(h.reason, case when h.outcome = 'aborted' then l.abort_reason end), h.ordered, h.actor)::ending
          from unnest(held) h join leases l on l.id = h.lease);

    news := news || tasks_end(endings);
    if reports @? '$[*].outputs.*' then news := outputs_keep(held, news); end if;

    perform emit(news);
    return query select t.* from unnest(held) h join tasks t on t.id = h.task_id;
end $$;

-- fragment_of says of a fragment among outputs how many tasks it adds, and its digest. Internal.
create function otto.fragment_of(outputs jsonb) returns jsonb language plpgsql immutable as $$
begin
    if jsonb_typeof(outputs -> 'fragment') is distinct from 'array' then return '{}'; end if;
    return jsonb_build_object('fragment', jsonb_build_object(
        'tasks', jsonb_array_length(outputs -> 'fragment'),
        'digest', 'sha256:' || encode(sha256(convert_to((outputs -> 'fragment')::text, 'UTF8')), 'hex')));
end $$;

-- outputs_keep keeps the outputs that reports bring, those of the attempt before replaced, and names them in the events that end
-- their tasks. Internal.
create function otto.outputs_keep(reports otto.report[], news otto.new_event[])
returns otto.new_event[] language plpgsql as $$
begin
    insert into task_outputs (task_id, epoch, bytes, outputs)
    select r.task_id, r.epoch, octet_length(r.outputs::text), r.outputs from unnest(reports) r where r.outputs <> '{}'
    on conflict (task_id) do update set epoch = excluded.epoch, bytes = excluded.bytes, outputs = excluded.outputs;
    return array(
        select row(n.kind, n.ends, n.actor, n.run_id, n.stage_id, n.task_id, n.epoch, n.step,
                   case when n.ends and n.step is null and o.names is not null then n.data || jsonb_build_object('outputs', o.names) || o.added else n.data end)::new_event
          from unnest(news) with ordinality n(kind, ends, actor, run_id, stage_id, task_id, epoch, step, data, place)
          left join (select r.task_id, (select jsonb_agg(k order by k) from jsonb_object_keys(r.outputs) k) as names, fragment_of(r.outputs) as added
                       from unnest(reports) r where r.outputs <> '{}') o on o.task_id = n.task_id
         order by n.place);
end $$;

-- reports_take is tasks_start, logs_append and tasks_finish together, in one transaction: what was taken, by lease and kind.
create function otto.reports_take(starts jsonb, logs jsonb, finishes jsonb)
returns table (kind text, lease uuid, task bigint, state text, next int) language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
begin
    return query select 'start', l.id, t.id, t.state, 0 from tasks_start(starts) t join leases l on l.task_id = t.id and l.epoch = t.epoch;
    return query select 'log', l.lease, 0::bigint, '', l.next from logs_append(logs) l;
    return query select 'finish', l.id, t.id, t.state, 0 from tasks_finish(finishes) t join leases l on l.task_id = t.id and l.epoch = t.epoch;
end $$;

-- runs_free takes the locks of the runs that reports are about, and leaves out the reports whose run somebody else holds. Internal.
create function otto.runs_free(reports jsonb)
returns jsonb language plpgsql as $$
declare free bigint[];
begin
    free := array(
        select x.run_id
          from (select distinct l.run_id from jsonb_to_recordset(reports) w(lease uuid) join leases l on l.id = w.lease) x
         where pg_try_advisory_xact_lock(hashtext('otto.run'), (x.run_id % 2147483647)::int));
    return (select coalesce(jsonb_agg(w.report), '[]') from jsonb_array_elements(reports) w(report)
              join leases l on l.id = (w.report ->> 'lease')::uuid where l.run_id = any(free));
end $$;

-- tasks_end: any active state → final, or → ready when a failure is to be retried. Internal, under the runs' locks.
create function otto.tasks_end(endings otto.ending[])
returns otto.new_event[] language plpgsql as $$
declare retried ending[]; finals ending[]; news new_event[]; stopping act[]; counted settled[]; ended final[];
begin
    select array_agg(e) filter (where d.delay is not null), array_agg(e) filter (where d.delay is null) into retried, finals
      from unnest(endings) e,
           lateral (select case when e.outcome = 'failed' and not e.ordered then retry_delay(e) end as delay) d;
    with u as (
        update tasks t set state = e.outcome, reason = e.reason, exit_code = e.exit_code, lease_id = null, award_id = null, finished_at = clock()
          from unnest(finals) e where t.id = e.task_id and t.finished_at is null
        returning t.*, e.ordered, e.actor
    ), x as (
        select u.*, u.allow_failure and not (u.ordered and u.state = 'aborted') and severity(u.state) >= severity('unstable') as forgiven from u
    ), y as (
        select x.*, case when x.forgiven then severity('succeeded') else severity(x.state) end as effective from x
    )
    select array_agg(row('task.' || y.state, true, y.actor, y.run_id, y.stage_id, y.id, y.epoch, null,
                         jsonb_build_object('exit_code', y.exit_code, 'reason', y.reason, 'forgiven', nullif(y.forgiven, false)))::new_event order by y.id),
           array_agg(distinct row(y.stage_id, y.actor)::act) filter (where y.effective >= severity('aborted') and not y.ordered),
           array_agg(row(y.stage_id, 1, y.effective, y.forgiven, y.actor)::settled),
           array_agg(row(y.id, y.effective < severity('aborted'), y.actor)::final order by y.id) filter (where y.needed or y.group_name is not null)
      into news, stopping, counted, ended from y;
    return news || tasks_again(retried, 'task.retrying') || siblings_abort(stopping) || tasks_settle(settled_sum(counted), ended);
end $$;

-- settled_sum adds up what was settled of each stage. Internal.
create function otto.settled_sum(counted otto.settled[])
returns otto.settled[] language plpgsql as $$
begin
    return array(select row(c.stage_id, sum(c.tasks), max(c.worst), bool_or(c.warned), max(c.actor))::settled from unnest(counted) c group by c.stage_id order by c.stage_id);
end $$;

-- siblings_abort stops what is left of fanout stages that have failed. Internal.
create function otto.siblings_abort(stopping otto.act[])
returns otto.new_event[] language plpgsql as $$
begin
    if stopping is null then return '{}'; end if;
    return array(select n from (select s.run_id, s.id, max(a.actor) as actor from unnest(stopping) a join stages s on s.id = a.id
                                 where s.mode = 'fanout' group by s.run_id, s.id order by s.id) s,
                        lateral unnest(tasks_abort(s.run_id, s.id, false, 'sibling_failed', s.actor)) n);
end $$;

-- tasks_again: any active state → ready, for another attempt, after a delay where they failed. Internal, under the runs' locks.
create function otto.tasks_again(endings otto.ending[], kind text)
returns otto.new_event[] language plpgsql as $$
declare news new_event[];
begin
    if endings is null then return '{}'; end if;
    with u as (
        update tasks t set state = 'ready', lease_id = null, reason = e.reason, exit_code = null, ready_at = clock() + d.delay,
               retries = t.retries + (kind = 'task.retrying')::int, interrupts = t.interrupts + (kind = 'task.interrupted')::int
          from unnest(endings) e, lateral (select case when kind = 'task.retrying' then retry_delay(e) else interval '0' end as delay) d
         where t.id = e.task_id and t.finished_at is null
        returning t.*, d.delay, e.actor, e.exit_code as code
    )
    select array_agg(row(k.kind, false, u.actor, u.run_id, u.stage_id, u.id, u.epoch, null, case when k.kind = tasks_again.kind then
                         jsonb_build_object('exit_code', u.code, 'reason', u.reason, 'delay_ms', (extract(epoch from u.delay) * 1000)::bigint) end)::new_event order by u.id, k.n)
      into news
      from u, lateral unnest(array[tasks_again.kind, case when tasks_again.kind <> 'task.retrying' then 'task.requeued' end]) with ordinality k(kind, n)
     where k.kind is not null;
    perform wake('ready');
    return news;
end $$;

-- retry_delay is how long a failed task waits for its next attempt; null when it gets none.
create function otto.retry_delay(e otto.ending) returns interval
language plpgsql stable as $$
declare p json; t tasks; r runs; what text := case e.reason when 'timeout' then 'timeout' when 'agent_lost' then 'lost' else 'failed' end;
begin
    select * into t from tasks where id = e.task_id;
    select * into r from runs where id = t.run_id;
    select spec -> 'retries' into p from plan_tasks where plan_digest = r.plan_digest and stage_index = t.stage_index and task_index = t.index;
    -- What was never given to an agent has nothing to try again.
    if p is null or t.epoch = 0 or r.state = 'aborting' or t.retries >= (p ->> 'limit')::int then return null; end if;
    if not coalesce(p -> 'on', '[]')::jsonb ? what
       and not coalesce(coalesce(p -> 'exit', '[]')::jsonb @> to_jsonb(e.exit_code), false) then return null; end if;
    return make_interval(secs => coalesce((p ->> 'delay_ms')::bigint, 0) / 1000.0);
end $$;
