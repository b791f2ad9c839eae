-- What every transition stands on: the clock, the writers of events and jobs, locks, and refusals.

-- clock is the only time that decides anything. Tests replace it in their own database.
create function otto.clock() returns timestamptz language plpgsql stable as $$
begin
    return now();
end $$;

-- severity orders outcomes; a parent gets the worst of its children. An unknown word has none (null). Like the two below it
-- is an expression with a name: written in SQL, it becomes a part of the statement that uses it, and costs no call.
create function otto.severity(state text) returns smallint language sql immutable as $$
    select case state when 'skipped' then 0 when 'succeeded' then 1 when 'unstable' then 2 when 'aborted' then 3 when 'failed' then 4 end::smallint
$$;

-- state_of is the outcome of a severity.
create function otto.state_of(severity smallint) returns text language sql immutable as $$
    select (array['skipped', 'succeeded', 'unstable', 'aborted', 'failed'])[severity + 1]
$$;

-- continues says whether later work starts after this severity.
create function otto.continues(severity smallint) returns boolean language sql immutable as $$
    select severity <= 2
$$;

-- wake tells the listeners of a topic to look now. NOTIFY takes a database-wide lock at commit, so concurrent
-- transactions of an application share one; a listener that misses it looks again at its next poll. It says whose it is: who
-- knows of his own transactions anyway need not hear of them, and so must not be the one with whom others share.
create function otto.wake(topic text) returns void language plpgsql as $$
declare whose text := current_setting('application_name');
begin
    if pg_try_advisory_xact_lock(hashtext('otto.wake'), hashtext(topic || ' ' || whose)) then
        perform pg_notify('otto_' || topic, whose);
    end if;
end $$;

-- emit appends events. Only transitions call it; nothing else writes events. What a transition leads to inside hands its
-- events up, and the door appends all of them at once: an insert costs more than the row it writes.
create function otto.emit(news otto.new_event[]) returns void language plpgsql as $$
declare now timestamptz := otto.clock();
begin
    if coalesce(cardinality(news), 0) = 0 then return; end if;
    insert into public.events (at, kind, run_id, stage_id, task_id, epoch, step, actor, data)
    select now, case when second.is then split_part(n.kind, '.', 1) || '.completed' else n.kind end,
           n.run_id, n.stage_id, n.task_id, n.epoch, n.step, n.actor,
           case when second.is then jsonb_build_object('state', split_part(n.kind, '.', 2)) else coalesce(jsonb_strip_nulls(n.data), '{}') end
      from unnest(news) with ordinality n(kind, ends, actor, run_id, stage_id, task_id, epoch, step, data, place),
           lateral (values (false), (true)) second("is")
     where n.ends or not second.is
     order by n.place, second.is;
    perform otto.wake('event');
end $$;

-- emit appends one event.
create function otto.emit(kind text, actor text, run bigint, task bigint default null, epoch int default null, data jsonb default null)
returns void language plpgsql as $$
begin
    perform otto.emit(array[row(kind, false, actor, run, null, task, epoch, null, data)::otto.new_event]);
end $$;

-- enqueue inserts one River job and wakes one worker. It is the only writer of river_job outside River itself.
create function otto.enqueue(kind text, args jsonb, queue text default 'default', at timestamptz default null)
returns void language plpgsql as $$
begin
    insert into river.river_job (kind, args, queue, max_attempts, state, scheduled_at)
    values (kind, args, queue, 25, case when at > now() then 'scheduled' else 'available' end::river.river_job_state, coalesce(at, now()));
    if pg_try_advisory_xact_lock(hashtext('otto.enqueue'), hashtext(queue)) then
        perform pg_notify('river.river_insert', json_build_object('queue', queue)::text);
    end if;
end $$;

-- lock_run takes the run's lock, the first in the order run, task, lease. It is an advisory lock: a row lock would write to
-- the row at every transition.
create function otto.lock_run(run bigint) returns public.runs language plpgsql as $$
declare r public.runs;
begin
    perform pg_advisory_xact_lock(hashtext('otto.run'), (run % 2147483647)::int);
    select * into r from public.runs where id = run;
    if not found then
        raise exception 'run % does not exist', run using errcode = 'OT404';
    end if;
    return r;
end $$;

-- refuse_run says why a run transition did not apply.
create function otto.refuse_run(run bigint, verb text) returns void language plpgsql as $$
declare s text;
begin
    select state into s from public.runs where id = run;
    if not found then
        raise exception 'run % does not exist', run using errcode = 'OT404';
    end if;
    raise exception 'run % is %: cannot %', run, s, verb using errcode = 'OT409';
end $$;

-- refuse_task says why a task transition did not apply.
create function otto.refuse_task(task bigint, verb text) returns void language plpgsql as $$
declare s text;
begin
    select state into s from public.tasks where id = task;
    if not found then
        raise exception 'task % does not exist', task using errcode = 'OT404';
    end if;
    raise exception 'task % is %: cannot %', task, s, verb using errcode = 'OT409';
end $$;

-- refuse_lease says why a report about a lease was not taken: it is somebody else's, or it is over. The holder of a
-- lease that is over must kill its work.
create function otto.refuse_lease(lease uuid, epoch int, agent bigint, verb text) returns void language plpgsql as $$
#variable_conflict use_column
declare l public.leases;
begin
    select * into l from public.leases where id = lease;
    if not found then
        raise exception 'lease % does not exist', lease using errcode = 'OT404';
    end if;
    if l.agent_id <> agent then
        raise exception 'lease % belongs to another agent: cannot %', lease, verb using errcode = 'OT403';
    end if;
    raise exception 'attempt % of task % is over (%): cannot %', refuse_lease.epoch, l.task_id,
        case when l.epoch <> refuse_lease.epoch then 'the lease is of attempt ' || l.epoch else coalesce(l.end_reason, 'not started') end, verb
        using errcode = 'OT409', hint = 'fenced';
end $$;

-- refuse_agent says why an agent transition did not apply.
create function otto.refuse_agent(agent bigint, verb text) returns void language plpgsql as $$
declare s text;
begin
    select state into s from public.agents where id = agent;
    if not found then
        raise exception 'agent % does not exist', agent using errcode = 'OT404';
    end if;
    raise exception 'agent % is %: cannot %', agent, s, verb using errcode = 'OT409';
end $$;
