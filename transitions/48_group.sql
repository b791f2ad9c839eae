-- Concurrency groups: of the tasks of a group, over all runs of a project, only so many are at work at once. A group is counted
-- under its lock. Who holds a run's lock only tries for the group's, and who holds a group's only tries for a run's; where that
-- fails a job does the rest. So nobody waits for two.

-- group_lock_free takes a group's lock if nobody has it. Internal.
create function otto.group_lock_free(project bigint, name text) returns boolean language plpgsql as $$
begin
    return pg_try_advisory_xact_lock(hashtext('otto.group'), hashtext(project || '/' || name));
end $$;

-- group_active counts the tasks that are at work in a group. One between two attempts keeps its place.
create function otto.group_active(project bigint, name text) returns bigint language plpgsql stable as $$
#variable_conflict use_variable
begin
    return (select count(*) from tasks t where t.group_project = project and t.group_name = name
               and t.state in ('ready', 'scheduled', 'provisioning', 'running'));
end $$;

-- group_fits lists the tasks that wait for a group and have room in it now: the oldest first, by the limit of each. Of very many
-- it lists the first hundred. Internal, under the group's lock.
create function otto.group_fits(project bigint, name text)
returns table (task bigint, run bigint) language plpgsql stable as $$
#variable_conflict use_variable
declare active bigint := group_active(project, name);
begin
    return query
    with recursive queue as (
        select t.id, t.run_id, t.group_limit, row_number() over (order by t.run_id, t.id) as n
          from (select * from tasks t where t.group_project = project and t.group_name = name and t.state = 'blocked' and t.undecided is not true
                   and t.group_limit > active order by t.run_id, t.id limit 100) t
    ), walk as (
        select 0::bigint as n, active as taken, 0::bigint as id, 0::bigint as run_id, false as fits
        union all
        select q.n, w.taken + (w.taken < q.group_limit)::int, q.id, q.run_id, w.taken < q.group_limit from walk w join queue q on q.n = w.n + 1
    )
    select w.id, w.run_id from walk w where w.fits;
end $$;

-- groups_enter: waiting → ready, if there is room in its group; else → blocked, or → skipped where the task says so. A group that
-- somebody else is counting takes it in when he is done: until then it is blocked. Internal.
create function otto.groups_enter(acts otto.act[])
returns otto.new_event[] language plpgsql as $$
declare entered act[]; groups concurrency[]; news new_event[]; skipped act[]; held act[];
begin
    with u as (
        update tasks t set state = 'blocked', reason = 'concurrency: ' || t.group_name from unnest(acts) a where t.id = a.id and t.state = 'waiting'
        returning t.*, a.actor
    )
    select array_agg(row(u.id, u.actor)::act order by u.id), array_agg(distinct row(u.group_project, u.group_name, u.actor)::concurrency) into entered, groups from u;
    if entered is null then return '{}'; end if;
    news := groups_admit(groups);

    select array_agg(e) filter (where s.skips), array_agg(e) filter (where not s.skips) into skipped, held
      from unnest(entered) e join tasks t on t.id = e.id and t.state = 'blocked', lateral (select group_skips(t) as skips) s;
    news := news || array(select row('task.blocked', false, h.actor, t.run_id, t.stage_id, t.id, null, null, jsonb_build_object('reason', t.reason))::new_event
                            from unnest(held) h join tasks t on t.id = h.id order by t.id);
    perform enqueue(g.kind, jsonb_build_object('project', g.group_project, 'group', g.group_name))
       from (select distinct case t.on_conflict when 'skip' then 'group_promote' else 'group_supersede' end as kind, t.group_project, t.group_name
               from unnest(held) h join tasks t on t.id = h.id
              where t.on_conflict = 'abort_older' or (t.on_conflict = 'skip' and group_lock_free(t.group_project, t.group_name))) g;
    return news || groups_skip(skipped);
end $$;

-- group_skips says whether a task that waits for its group is not to: it has no room there, as far as that can be known. Each skip
-- may lead to the next, deeper in the stack, so after 50 a transaction leaves the rest to the job: 100 fit into 2 MB. Internal.
create function otto.group_skips(t tasks) returns boolean language plpgsql as $$
begin
    return t.on_conflict = 'skip' and group_skipped() < 50 and group_lock_free(t.group_project, t.group_name)
       and not exists (select from group_fits(t.group_project, t.group_name) f where f.task = t.id);
end $$;

-- group_skipped counts how often this transaction has skipped tasks for their groups. Internal.
create function otto.group_skipped() returns int language plpgsql stable as $$
begin
    return coalesce(nullif(current_setting('otto.group_skipped', true), '')::int, 0);
end $$;

-- groups_skip: blocked → skipped, for tasks that do not wait for their group. Internal, under the runs' locks.
create function otto.groups_skip(acts otto.act[])
returns otto.new_event[] language plpgsql as $$
declare news new_event[]; counted settled[]; gone act[];
begin
    if acts is null then return '{}'; end if;
    perform set_config('otto.group_skipped', (group_skipped() + 1)::text, true);
    with u as (
        update tasks t set state = 'skipped', finished_at = clock() from unnest(acts) a where t.id = a.id and t.state = 'blocked'
        returning t.*, a.actor
    )
    select array_agg(row('task.skipped', true, u.actor, u.run_id, u.stage_id, u.id, null, null, jsonb_build_object('reason', u.reason))::new_event order by u.id),
           array_agg(row(u.stage_id, 1, 0, false, u.actor)::settled), array_agg(row(u.id, u.actor)::act order by u.id)
      into news, counted, gone from u;
    if gone is null then return '{}'; end if;
    return news || tasks_settle(settled_sum(counted), finals_of(gone, false));
end $$;

-- groups_admit gives the room in groups to those that wait for it, as far as that can be done here. Internal.
create function otto.groups_admit(groups otto.concurrency[])
returns otto.new_event[] language plpgsql as $$
declare a admission;
begin
    if coalesce(cardinality(groups), 0) = 0 then return '{}'; end if;
    a := groups_promote(groups);
    perform enqueue('group_promote', jsonb_build_object('project', l.project, 'group', l.name)) from unnest(a.late) l;
    return a.news;
end $$;

-- groups_promote: blocked → ready, for tasks that have room in their groups, of whatever run. It leaves out groups and runs that
-- somebody else holds. Where a transaction takes the locks of several runs one by one, it leaves out all. Internal.
create function otto.groups_promote(groups otto.concurrency[])
returns otto.admission language plpgsql as $$
declare mine concurrency[]; late concurrency[]; found concurrency[]; picked act[]; news new_event[]; n int;
begin
    if current_setting('otto.runs_in_order', true) = 'on' then return row('{}', groups)::admission; end if;
    select array_agg(g.g) filter (where g.free), array_agg(g.g) filter (where not g.free) into mine, late
      from (select g, group_lock_free(g.project, g.name) as free
              from (select distinct on (g.project, g.name) g.* from unnest(groups) g order by g.project, g.name, g.actor) g) g;
    with fits as materialized (
        select f.task, f.run, g from unnest(mine) g, lateral group_fits(g.project, g.name) f
    ), tried as materialized (
        select f.*, pg_try_advisory_xact_lock(hashtext('otto.run'), (f.run % 2147483647)::int) as free from fits f
    )
    select array_agg(row(t.task, (t.g).actor)::act order by t.task) filter (where t.free), array_agg(distinct t.g) filter (where not t.free)
      into picked, found from tried t;
    with u as (  -- its run may have stopped it before we had the lock
        update tasks t set state = 'ready', reason = null, ready_at = clock() from unnest(picked) a where t.id = a.id and t.state = 'blocked'
        returning t.run_id, t.stage_id, t.id, a.actor
    )
    select array_agg(row('task.ready', false, u.actor, u.run_id, u.stage_id, u.id, null, null, null)::new_event order by u.id), count(*) into news, n from u;
    if n > 0 then perform wake('ready'); end if;
    if n < cardinality(picked) or n >= 100 then found := mine; end if;
    return row(coalesce(news, '{}'), coalesce(late, '{}') || found)::admission;
end $$;

-- group_promote: blocked → ready or skipped, for tasks that wait for a group. The job that follows what could not be done at
-- once; it answers whether something is still left, because somebody holds a run.
create function otto.group_promote(project bigint, name text, actor text)
returns table (late boolean) language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_variable
declare a admission; skipped act[]; held boolean;
begin
    perform pg_advisory_xact_lock(hashtext('otto.group'), hashtext(project || '/' || name));
    a := groups_promote(array[row(project, name, actor)::concurrency]);
    with tried as materialized (
        select t.id, pg_try_advisory_xact_lock(hashtext('otto.run'), (t.run_id % 2147483647)::int) as free
          from (select * from tasks t where t.group_project = project and t.group_name = name and t.state = 'blocked' and t.undecided is not true
                   and t.on_conflict = 'skip' order by t.run_id, t.id limit 100) t where group_skips(t)
    )
    select array_agg(row(t.id, actor)::act) filter (where t.free), bool_or(not t.free) into skipped, held from tried t;
    perform emit(a.news || groups_skip(skipped));
    return query select cardinality(a.late) > 0 or coalesce(held, false);
end $$;

-- group_superseded lists tasks of a group that a newer run supersedes: its task waits for them, or they wait for its. What has
-- been told to stop already is left out.
create function otto.group_superseded(project bigint, name text)
returns table (task bigint, run bigint) language plpgsql stable security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_variable
begin
    return query
    with entered as materialized (  -- each half has an index of its own
        select t.id, t.run_id, t.lease_id, t.on_conflict = 'abort_older' as supersedes
          from tasks t where t.group_project = project and t.group_name = name and t.state = 'blocked' and t.undecided is not true
        union all
        select t.id, t.run_id, t.lease_id, false
          from tasks t where t.group_project = project and t.group_name = name and t.state in ('ready', 'scheduled', 'provisioning', 'running')
    )
    select e.id, max(n.run_id) from entered e join entered n on n.run_id > e.run_id and (n.supersedes or e.supersedes)
     where not exists (select from leases l where l.id = e.lease_id and l.abort_at is not null)
     group by e.id order by e.id;
end $$;

-- task_supersede: a task is aborted as by task_abort, if a newer run supersedes it in its group now.
create function otto.task_supersede(task bigint, run bigint, actor text)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare t tasks;
begin
    perform lock_run(t.run_id) from tasks t where t.id = task;
    select * into t from tasks where id = task;
    perform from group_superseded(t.group_project, t.group_name) s where s.task = task_supersede.task and s.run = task_supersede.run;
    if not found then perform refuse_task(task, 'supersede'); end if;
    return query select * from task_abort(task, actor, 'superseded by run ' || run);
end $$;
