-- The transitions of a task.

-- tasks_ready: waiting → ready. Internal: a stage that starts, or the task before it, makes a task ready.
create function otto.tasks_ready(ids bigint[], actor text)
returns void language plpgsql as $$
declare changed bigint[];
begin
    with u as (update tasks set state = 'ready', ready_at = clock() where id = any(ids) and state = 'waiting' returning id)
    select array_agg(id) into changed from u;
    if changed is null then return; end if;
    perform emit('task.ready', actor, t.run_id, t.stage_id, t.id)
       from (select * from tasks where id = any(changed) order by id) t;
    perform wake('ready');
end $$;

-- tasks_skip: waiting → skipped. Says how many. Internal.
create function otto.tasks_skip(ids bigint[], actor text)
returns int language plpgsql as $$
declare changed bigint[];
begin
    with u as (update tasks set state = 'skipped', finished_at = clock() where id = any(ids) and state = 'waiting' returning id)
    select array_agg(id) into changed from u;
    perform emit_end('task', t.state, actor, t.run_id, t.stage_id, t.id)
       from (select * from tasks where id = any(changed) order by id) t;
    return coalesce(cardinality(changed), 0);
end $$;

-- fits says whether an agent offers what a task requires: numbers at least, lists by member, the rest by equality.
create function otto.fits(requires jsonb, offers jsonb) returns boolean language plpgsql immutable as $$
begin
    return requires = '{}' or not exists (
        select from jsonb_each(requires) r
         where not coalesce(
            case jsonb_typeof(r.value)
                when 'number' then jsonb_typeof(offers -> r.key) = 'number' and (offers -> r.key)::numeric >= r.value::numeric
                else offers -> r.key = r.value or (jsonb_typeof(offers -> r.key) = 'array' and offers -> r.key @> jsonb_build_array(r.value))
            end, false));
end $$;

-- task_lease: ready → scheduled. Grants the first fitting tasks, by priority and age, one for each slot. A slot is the
-- id of an agent with room for a task; all agents of a call are online and offer the same.
create function otto.task_lease(slots bigint[], actor text)
returns setof leases language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare granted uuid[]; offer jsonb; c cluster;
begin
    select a.offers into offer from agents a where a.id = slots[1];
    slots := array(select s.id from unnest(slots) with ordinality s(id, n) join agents a on a.id = s.id
                    where a.state = 'online' and a.offers = offer order by s.n);
    select * into c from cluster;
    with picked as (
        select p.id, row_number() over (order by p.priority desc, p.ready_at, p.id) as n
          from (select id, priority, ready_at from tasks
                 where state = 'ready' and ready_at <= clock() and (requires = '{}' or fits(requires, offer))
                 order by priority desc, ready_at, id limit cardinality(slots) for no key update skip locked) p
    ), scheduled as (
        update tasks t set state = 'scheduled', epoch = t.epoch + 1, lease_id = gen_random_uuid(), reason = null, exit_code = null
          from picked where t.id = picked.id
        returning t.*, picked.n
    ), leased as (
        insert into leases (id, task_id, run_id, agent_id, epoch, granted_at, start_by, expires_at)
        select lease_id, id, run_id, slots[n], epoch, clock(), clock() + c.start_within, clock() + c.lease_ttl from scheduled
        returning id
    )
    select array_agg(id) into granted from leased;
    if granted is null then return; end if;
    perform steps_lay_out(granted);

    perform emit('task.scheduled', actor, l.run_id, t.stage_id, t.id, l.epoch, data => jsonb_build_object('agent', a.name, 'agent_id', a.id))
       from leases l join tasks t on t.id = l.task_id join agents a on a.id = l.agent_id where l.id = any(granted);
    return query select * from leases where id = any(granted);
end $$;

-- task_start: scheduled → running, by the holder of the lease. Repeating it changes nothing.
create function otto.task_start(lease uuid, epoch int, agent bigint, steps jsonb, actor text)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare t tasks; timeout interval;
begin
    update tasks t set state = 'running', started_at = coalesce(t.started_at, clock())
      from leases l
     where l.id = lease and l.epoch = task_start.epoch and l.agent_id = agent and t.id = l.task_id and t.lease_id = l.id
       and t.state in ('scheduled', 'provisioning')
    returning t.* into t;
    if not found then
        return query select * from task_held(lease, epoch, agent, 'start');
        return;
    end if;
    select make_interval(secs => (p.spec ->> 'timeout_ms')::bigint / 1000.0) into timeout
      from runs r join plan_tasks p on p.plan_digest = r.plan_digest and p.stage_index = t.stage_index and p.task_index = t.index where r.id = t.run_id;
    update leases set started_at = clock(), deadline_at = clock() + timeout + interval '10 minutes' where id = lease;

    perform emit('task.started', actor, t.run_id, t.stage_id, t.id, t.epoch);
    perform steps_record(t, steps, actor);
    return next t;
end $$;

-- task_held locks the task of a lease that still holds it; or refuses.
create function otto.task_held(lease uuid, epoch int, agent bigint, verb text)
returns setof tasks language plpgsql as $$
#variable_conflict use_column
begin
    return query select t.* from leases l join tasks t on t.id = l.task_id and t.lease_id = l.id
      where l.id = lease and l.epoch = task_held.epoch and l.agent_id = agent
        for no key update of t;
    if not found then perform refuse_lease(lease, epoch, agent, verb); end if;
end $$;

-- task_finish: scheduled, running → the worst of what the agent says and what the steps say; or → ready, when the task
-- is to be retried. Then the stage and the run advance. Repeating it changes nothing.
create function otto.task_finish(lease uuid, epoch int, agent bigint, outcome text, exit_code int, reason text, steps jsonb, log jsonb, actor text)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare t tasks; l leases; worst smallint;
begin
    perform lock_run(l.run_id) from leases l where l.id = lease;
    select * into l from leases where id = lease;
    if l.end_reason = 'finished' and l.epoch = task_finish.epoch and l.agent_id = agent then
        return query select * from tasks where id = l.task_id;
        return;
    end if;
    select * into t from task_held(lease, epoch, agent, 'finish');
    perform steps_record(t, steps, actor);
    perform steps_close(t, task_finish.reason, actor);
    worst := greatest(severity(outcome), steps_worst(t.id, t.epoch));
    perform lease_end(lease, 'finished', task_finish.exit_code, log);
    t.exit_code := task_finish.exit_code;
    t.reason := coalesce(task_finish.reason, case when outcome = 'aborted' then l.abort_reason end);
    return query select * from task_end(t, state_of(coalesce(worst, 1::smallint)), l.abort_at is not null, actor);
end $$;

-- task_end: any active state → final, or → ready when a failure is to be retried. Internal, under the run's lock.
create function otto.task_end(t tasks, outcome text, ordered boolean, actor text)
returns setof tasks language plpgsql as $$
#variable_conflict use_column
declare delay interval; effective smallint; forgiven boolean; r tasks;
begin
    delay := case when outcome = 'failed' and not ordered then retry_delay(t) end;
    if delay is not null then
        return query select * from task_again(t, 'task.retrying', delay, actor);
        return;
    end if;
    update tasks set state = outcome, reason = t.reason, exit_code = t.exit_code, lease_id = null, finished_at = clock()
     where id = t.id and finished_at is null
    returning * into r;
    if not found then perform refuse_task(t.id, 'end'); end if;

    forgiven := r.allow_failure and not (ordered and outcome = 'aborted') and severity(outcome) >= severity('unstable');
    effective := case when forgiven then severity('succeeded') else severity(outcome) end;
    perform emit_end('task', outcome, actor, r.run_id, r.stage_id, r.id, r.epoch,
                     data => jsonb_build_object('exit_code', r.exit_code, 'reason', r.reason, 'forgiven', nullif(forgiven, false)));
    if effective >= severity('aborted') and not ordered then
        perform tasks_abort(r.run_id, s.id, false, 'sibling_failed', actor) from stages s where s.id = r.stage_id and s.mode = 'fanout';
    end if;
    perform stage_settle(r.stage_id, 1, effective, forgiven, actor);
    return query select * from tasks where id = r.id;
end $$;

-- task_again: any active state → ready, for another attempt after a delay. Internal.
create function otto.task_again(t tasks, kind text, delay interval, actor text)
returns setof tasks language plpgsql as $$
#variable_conflict use_column
declare r tasks;
begin
    update tasks set state = 'ready', lease_id = null, reason = t.reason, exit_code = null, ready_at = clock() + delay,
           retries = retries + (kind = 'task.retrying')::int, interrupts = interrupts + (kind = 'task.interrupted')::int
     where id = t.id and lease_id = t.lease_id
    returning * into r;
    if not found then perform refuse_task(t.id, 'repeat'); end if;

    perform emit(kind, actor, r.run_id, r.stage_id, r.id, r.epoch,
                 data => jsonb_build_object('exit_code', t.exit_code, 'reason', t.reason, 'delay_ms', (extract(epoch from delay) * 1000)::bigint));
    if kind <> 'task.retrying' then
        perform emit('task.requeued', actor, r.run_id, r.stage_id, r.id, r.epoch);
    end if;
    perform wake('ready');
    return next r;
end $$;

-- retry_delay is how long a failed task waits for its next attempt; null when it gets none.
create function otto.retry_delay(t tasks) returns interval
language plpgsql stable as $$
declare p json; r runs; what text := case t.reason when 'timeout' then 'timeout' when 'agent_lost' then 'lost' else 'failed' end;
begin
    select * into r from runs where id = t.run_id;
    select spec -> 'retries' into p from plan_tasks where plan_digest = r.plan_digest and stage_index = t.stage_index and task_index = t.index;
    if p is null or r.state = 'aborting' or t.retries >= (p ->> 'limit')::int then return null; end if;
    if not coalesce(p -> 'on', '[]')::jsonb ? what
       and not coalesce(coalesce(p -> 'exit', '[]')::jsonb @> to_jsonb(t.exit_code), false) then return null; end if;
    return make_interval(secs => coalesce((p ->> 'delay_ms')::bigint, 0) / 1000.0);
end $$;
