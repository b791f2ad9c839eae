-- Upkeep. Everything here can be called at any time, by anyone, as often as he likes.

-- run_reconcile derives all pending work from the state tables alone. It makes an emptied job table harmless.
create function otto.run_reconcile(actor text)
returns table (planning int, advanced int, deciding int, admitting int, auctioning int) language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare to_plan bigint[]; to_advance bigint[];
begin
    perform set_config('otto.runs_in_order', 'on', true);
    to_plan := array(select r.id from runs r where r.state = 'pending' and r.plan_digest is null and r.created_at < clock() - interval '5 seconds'
                        and not job_waits('source_plan', jsonb_build_object('run', r.id)));
    perform enqueue('source_plan', jsonb_build_object('run', i)) from unnest(to_plan) i;
    to_advance := array(select r.id from runs r where r.finished_at is null and run_is_stuck(r.id) order by r.id limit 100);
    perform run_repair(i, actor) from unnest(to_advance) i;
    -- What functions of the version before have made, while this one was being installed.
    update tasks t set project_id = r.project_id from runs r where r.id = t.run_id and t.project_id is null and t.finished_at is null;
    perform log_give_up(actor);
    perform agents_forget(actor);
    perform orchestrators_forget(actor);
    perform auction_open(actor);
    delete from idempotency where (principal, key) in (select i.principal, i.key from idempotency i where i.created_at < clock() - interval '1 day' limit 10000);
    return query select cardinality(to_plan), cardinality(to_advance), decisions_find(), groups_find(), auctions_find();
end $$;

-- decisions_find inserts the jobs anew that decide blocked tasks, where they are lost; it answers how many. Internal.
create function otto.decisions_find() returns int language plpgsql as $$
declare lost bigint[];
begin
    lost := array(
        select t.id from tasks t
         where t.state = 'blocked' and t.undecided and not exists (
               select from river.river_job j where j.kind = 'task_decide' and (j.args ->> 'task')::bigint = t.id and job_lives(j.state::text, j.attempted_at))
         order by t.id limit 1000);
    perform enqueue('task_decide', jsonb_build_object('task', i)) from unnest(lost) i;
    return cardinality(lost);
end $$;

-- groups_find inserts the jobs anew that go on with concurrency groups, where one could go on; it answers how many. Internal.
create function otto.groups_find() returns int language plpgsql as $$
declare n int;
begin
    with groups as materialized (
        select t.group_project as project, t.group_name as name, bool_or(t.on_conflict = 'skip') as skips from tasks t
         where t.state = 'blocked' and t.group_name is not null and t.undecided is not true group by 1, 2
    ), due as materialized (
        select k.kind, jsonb_build_object('project', g.project, 'group', g.name) as args
          from groups g, lateral (values ('group_promote', g.skips or exists (select from group_fits(g.project, g.name))),
                                         ('group_supersede', exists (select from group_superseded(g.project, g.name)))) k(kind, due)
         where k.due
    )
    select count(enqueue(d.kind, d.args)) into n from due d where not job_waits(d.kind, d.args);
    return n;
end $$;

-- job_waits says whether such a job is still to be worked. One that has been running for over a minute does not count: its
-- worker may be dead, which River notices late, and every job may be worked twice.
create function otto.job_waits(kind text, args jsonb) returns boolean
language plpgsql stable as $$
begin
    return exists (select from river.river_job j where j.kind = job_waits.kind and j.args @> job_waits.args and job_lives(j.state::text, j.attempted_at));
end $$;

-- job_lives says so of one job's row.
create function otto.job_lives(state text, attempted_at timestamptz) returns boolean language plpgsql stable as $$
begin
    return state not in ('completed', 'cancelled', 'discarded') and not (state = 'running' and attempted_at < now() - interval '1 minute');
end $$;

-- run_is_stuck says whether a run has nothing that could move it. No transition leaves one so; this is the proof.
create function otto.run_is_stuck(run bigint) returns boolean
language plpgsql stable as $$
begin
    return exists (select from runs r where r.id = run and r.finished_at is null and r.state <> 'pending')
       and not exists (select from tasks t where t.run_id = run
                          and t.state in ('blocked', 'ready', 'scheduled', 'provisioning', 'running', 'quarantined'));
end $$;

-- run_repair counts a stuck run's stages anew and lets it go on.
create function otto.run_repair(run bigint, actor text)
returns void language plpgsql security definer set search_path = public, otto, pg_temp as $$
begin
    perform lock_run(run);
    if not run_is_stuck(run) then return; end if;
    update stages s set tasks_left = (select count(*) from tasks t where t.run_id = run and t.stage_index = s.index and t.finished_at is null)
     where s.run_id = run and s.state in ('waiting', 'running');
    update tasks t set needs_left = (select count(*) from task_edges e join tasks n on n.id = e.need_id where e.task_id = t.id and n.finished_at is null)
     where t.run_id = run and t.state = 'waiting' and t.needs_left is not null;
    perform emit(row('run.repaired', false, actor, run, null, null, null, null, null)::new_event
                 || tasks_begin(array(select row(t.id, actor)::act from tasks t where t.run_id = run and t.state = 'waiting' and t.needs_left = 0 order by t.id))
                 || stages_settle(array(select row(s.id, 0, s.severity, false, actor)::settled from stages s where s.run_id = run and s.state = 'running' order by s.index))
                 || runs_advance(array[row(run, actor)::act]));
    if run_is_stuck(run) then perform task_quarantine(t.id, actor, 'what it needs cannot end') from tasks t where t.run_id = run and t.state = 'waiting' and t.needs_left > 0; end if;
end $$;

-- partition_maintain makes the daily partitions of events and log chunks ahead of time, and drops emptied ones of log
-- chunks. Table names cannot be parameters, so this one function builds statements; from dates only. It gives up soon when
-- somebody reads a table for long, because everybody would queue up behind it; the next hour will do.
create function otto.partition_maintain(days_ahead int default 7)
returns int language plpgsql security definer set search_path = public, otto, pg_temp set lock_timeout = '500ms' as $$
declare made int := 0; name text; day date; parent text;
begin
    perform pg_advisory_xact_lock(hashtext('otto.partition_maintain'), 0);
    for parent, day in
        select p, d::date from unnest(array['events', 'log_chunks']) p, generate_series(clock() at time zone 'utc', (clock() at time zone 'utc') + make_interval(days => days_ahead), '1 day') d
    loop
        name := parent || '_' || to_char(day, 'YYYYMMDD');
        continue when to_regclass('public.' || name) is not null;
        continue when partition_blocked(parent, day);
        execute format('create table public.%I partition of public.%I for values from (%L) to (%L)', name, parent,
                       day::timestamp at time zone 'utc', (day + 1)::timestamp at time zone 'utc');
        made := made + 1;
    end loop;
    return made;
end $$;

-- partition_blocked says whether rows of that day are in the default partition already; then they stay there.
create function otto.partition_blocked(parent text, day date) returns boolean
language plpgsql stable as $$
declare since timestamptz := day::timestamp at time zone 'utc'; until timestamptz := (day + 1)::timestamp at time zone 'utc';
begin
    return case parent
        when 'events' then exists (select from events_default where at >= since and at < until)
        else exists (select from log_chunks_default where at >= since and at < until) end;
end $$;

-- partition_drop drops day partitions: of log chunks, those that have been over for so long and are empty; of events, those
-- of which keep_events lets everything go. Like partition_maintain it builds statements, and gives up soon.
create function otto.partition_drop(before interval default '2 days')
returns int language plpgsql security definer set search_path = public, otto, pg_temp set lock_timeout = '500ms' as $$
declare dropped int := 0; name text; used boolean;
begin
    perform pg_advisory_xact_lock(hashtext('otto.partition_maintain'), 0);
    for name in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
         where i.inhparent in ('public.events'::regclass, 'public.log_chunks'::regclass) and c.relname ~ '_\d{8}$'
           and (to_date(right(c.relname, 8), 'YYYYMMDD') + 1)::timestamp at time zone 'utc'
               <= clock() - case when i.inhparent = 'public.events'::regclass then (select k.keep_events from cluster k) else before end
         order by right(c.relname, 8)
    loop
        execute format('select exists (select from public.%I)', name) into used;
        continue when used and name like 'log_chunks_%';
        exit when dropped = 31;  -- each takes locks; the next hour will do
        execute format('drop table public.%I', name);
        dropped := dropped + 1;
    end loop;
    return dropped;
end $$;
