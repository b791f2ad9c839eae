-- Retention: what is over is deleted after the times in table cluster. Everything here does a bounded piece of work, skips
-- what others hold, and can be repeated.
--
-- What is still needed is looked up with `(select … limit 1) is null`, row by row: `not exists` is a join to the planner, and
-- where it expects to find next to nothing it reads the whole other table once for each call.

-- runs_prune deletes final runs that have been over for longer than keep_runs, with everything that is theirs, the oldest
-- first. at_most bounds the runs, and with the run that brings their tasks to as many it is enough: a run goes whole.
create function otto.runs_prune(at_most int, actor text)
returns table (pruned int, logs int) language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare old bigint[] := runs_prunable(at_most); used text[]; logs text[];
begin
    perform emit(array(
        select row('run.pruned', false, actor, r.id, null, null, null, null, jsonb_build_object('project', p.name, 'state', r.state,
                   'created_by', r.created_by, 'finished_at', r.finished_at, 'source', r.source_digest, 'plan', r.plan_digest))::new_event
          from runs r join projects p on p.id = r.project_id where r.id = any(old) order by r.id));
    logs := array(
        select l.log_object from tasks t join leases l on l.task_id = t.id
         where t.run_id = any(old) and l.log_object is not null and l.log_expired_at is null for no key update of l);
    perform logs_let_go(logs);
    with gone as (delete from runs r where r.id = any(old) returning r.plan_digest, r.source_digest)
    select array_agg(distinct u.digest) into used from gone g, lateral (values (g.plan_digest), (g.source_digest)) u(digest);

    update plans p set idle_at = clock() where p.digest = any(used) and (select r.id from runs r where r.plan_digest = p.digest limit 1) is null;
    update sources s set idle_at = clock() where s.digest = any(used) and (select r.id from runs r where r.source_digest = s.digest limit 1) is null;
    return query select cardinality(old), cardinality(logs);
end $$;

-- runs_prunable picks and locks them. A log that is still in chunks has a job that moves it, which comes first. One call at
-- a time: two that each delete one of the last two runs of a plan would both think that the other needs it. Internal.
create function otto.runs_prunable(at_most int) returns bigint[]
language plpgsql as $$
declare old bigint[];
begin
    if not pg_try_advisory_xact_lock(hashtext('otto.runs_prune'), 0) then return '{}'; end if;
    old := array(
        select r.id from runs r
         where r.finished_at < clock() - (select c.keep_runs from cluster c)
           and (select l.id from tasks t join leases l on l.task_id = t.id where t.run_id = r.id and l.log_object is null
                   and (l.ended_at is null or l.log_chunks > 0 or l.log_done_at is null) limit 1) is null
         order by r.finished_at limit at_most for update of r skip locked);
    return array(
        select o.id from (
            select c.id, sum(c.tasks) over (order by c.place) - c.tasks as before
              from (select u.id, u.place, (select count(*) from tasks t where t.run_id = u.id) as tasks
                      from unnest(old) with ordinality u(id, place)) c) o
         where o.before < at_most and pg_try_advisory_xact_lock(hashtext('otto.run'), (o.id % 2147483647)::int));
end $$;

-- logs_expire lets logs go before their runs, after keep_logs. Readers are told so.
create function otto.logs_expire(at_most int, actor text)
returns int language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare old uuid[];
begin
    old := array(
        select l.id from leases l
         where l.log_object is not null and l.log_expired_at is null and l.ended_at < clock() - (select c.keep_logs from cluster c)
         order by l.ended_at limit at_most for update skip locked);
    update leases l set log_expired_at = clock() where l.id = any(old);
    perform emit(array(
        select row('log.expired', false, actor, l.run_id, null, l.task_id, l.epoch, null, jsonb_build_object('bytes', l.log_bytes))::new_event
          from leases l where l.id = any(old)));
    perform logs_let_go(array(select l.log_object from leases l where l.id = any(old)));
    return cardinality(old);
end $$;

-- logs_let_go leaves the objects of logs to whoever deletes them: each is named once for each log in it that is not needed any
-- more, whose lease the caller has locked. One that holds others as well stays for these. Internal.
create function otto.logs_let_go(objects text[])
returns void language plpgsql as $$
begin
    perform from log_packs p where p.object = any(objects) order by p.object for no key update;
    with gone as (
        select o.object, count(*)::int as logs from unnest(objects) o(object) group by o.object
    ), rest as (
        update log_packs p set logs = p.logs - g.logs from gone g where p.object = g.object and p.logs > g.logs returning p.object
    ), emptied as (
        delete from log_packs p using gone g where p.object = g.object and p.logs = g.logs
    )
    insert into objects_gone (object, at) select g.object, clock() from gone g where g.object not in (select r.object from rest r);
end $$;

-- plans_prune deletes plans that no run has referred to for a day. The rows are locked first and looked at afterwards: then
-- no new run can refer to one, and every run that does is seen.
create function otto.plans_prune(at_most int)
returns int language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare idle text[]; n int;
begin
    idle := array(
        select p.digest from plans p
         where p.idle_at < clock() - interval '1 day' and (select c.keep_runs from cluster c) is not null
         order by p.idle_at limit at_most for update skip locked);
    update plans p set idle_at = null where p.digest = any(idle) and (select r.id from runs r where r.plan_digest = p.digest limit 1) is not null;
    delete from plans p where p.digest = any(idle) and p.idle_at is not null;
    get diagnostics n = row_count;
    return n;
end $$;

-- sources_prune does the same with sources, and leaves their bundles to whoever deletes objects.
create function otto.sources_prune(at_most int)
returns int language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare idle text[]; n int;
begin
    idle := array(
        select s.digest from sources s
         where s.idle_at < clock() - interval '1 day' and (select c.keep_runs from cluster c) is not null
         order by s.idle_at limit at_most for update skip locked);
    update sources s set idle_at = null where s.digest = any(idle) and (select r.id from runs r where r.source_digest = s.digest limit 1) is not null;
    with gone as (
        delete from sources s where s.digest = any(idle) and s.idle_at is not null returning s.digest
    ), queued as (
        insert into objects_gone (object, at) select g.digest, clock() from gone g on conflict (object) do nothing
    )
    select count(*) into n from gone;
    return n;
end $$;

-- events_prune deletes what keep_events lets go of from the partition that takes what no day's partition does. Those are
-- dropped whole, by partition_drop.
create function otto.events_prune(at_most int)
returns int language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare n int;
begin
    delete from events_default e where e.ctid = any(array(
        select d.ctid from events_default d where d.at < clock() - (select c.keep_events from cluster c) order by d.at limit at_most));
    get diagnostics n = row_count;
    return n;
end $$;

-- objects_take locks objects that are to be deleted from the store now. As long as the caller's transaction lasts, nobody
-- can begin to store one of them anew. A source that has been noted meanwhile stays.
create function otto.objects_take(at_most int)
returns setof objects_gone language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare due text[];
begin
    due := array(select g.object from objects_gone g where g.at <= clock() order by g.at limit at_most for update skip locked);
    delete from objects_gone g where g.object = any(due) and exists (select from sources s where s.digest = g.object);
    return query select * from objects_gone g where g.object = any(due);
end $$;

-- objects_prune takes objects off the list, which are gone from the store.
create function otto.objects_prune(objects text[])
returns void language plpgsql security definer set search_path = public, otto, pg_temp as $$
begin
    delete from objects_gone g where g.object = any(objects);
end $$;
