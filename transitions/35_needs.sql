-- Tasks that wait for other tasks instead of the stages before their own, and what follows the end of any task.

-- needs_lay_out notes who needs whom in runs that have just been laid out, and starts what needs nothing. A need that planning
-- has omitted is fulfilled, so it is none. Internal.
create function otto.needs_lay_out(started otto.act[])
returns otto.new_event[] language plpgsql as $$
declare ready act[];
begin
    insert into task_edges (run_id, need_id, task_id)
    select t.run_id, n.id, t.id
      from unnest(started) a join runs r on r.id = a.id
      join tasks t on t.run_id = r.id and t.needs_left > 0
      join plan_tasks p on p.plan_digest = r.plan_digest and p.stage_index = t.stage_index and p.task_index = t.index
     cross join jsonb_array_elements(p.rules -> 'needs') e(place)
      join tasks n on n.run_id = t.run_id and n.stage_index = (e.place -> 0)::int and n.index = (e.place -> 1)::int and n.finished_at is null;
    update tasks t set needs_left = e.open
      from unnest(started) a join tasks w on w.run_id = a.id and w.needs_left > 0,
           lateral (select count(*) as open from task_edges e where e.task_id = w.id) e
     where t.id = w.id and e.open < w.needs_left;

    select array_agg(row(t.id, a.actor)::act order by t.id) into ready
      from unnest(started) a join tasks t on t.run_id = a.id and t.needs_left = 0 and t.state = 'waiting';
    return tasks_begin(ready);
end $$;

-- tasks_begin starts tasks that do not wait for their stages. Internal.
create function otto.tasks_begin(acts otto.act[])
returns otto.new_event[] language plpgsql as $$
begin
    if acts is null then return '{}'; end if;
    return stages_enter(acts) || tasks_ready(acts);
end $$;

-- tasks_settle follows the end of tasks, under their runs' locks: what needs them is skipped or let go, their stages are settled,
-- and their groups have room. What is skipped is counted with what it needed, before a stage may go on. Internal.
create function otto.tasks_settle(counted otto.settled[], ended otto.final[])
returns otto.new_event[] language plpgsql as $$
declare skipped act[]; news new_event[]; groups concurrency[];
begin
    if ended is null then return stages_settle(counted); end if;
    select s.news, s.skipped into news, skipped from needs_fail(ended) s;
    news := news || stages_settle(settled_sum(counted || array(
        select row(t.stage_id, 1, 0, false, a.actor)::settled from unnest(skipped) a join tasks t on t.id = a.id)));
    news := news || needs_count(ended || coalesce(finals_of(skipped, false), '{}'));
    groups := array(select distinct on (t.group_project, t.group_name) row(t.group_project, t.group_name, e.actor)::concurrency
                      from unnest(ended) e join tasks t on t.id = e.task_id where t.group_name is not null order by t.group_project, t.group_name);
    return news || groups_admit(groups);
end $$;

-- finals_of are those of some skipped tasks that matter to others. Null if there are none. Internal.
create function otto.finals_of(acts otto.act[], fulfilled boolean) returns otto.final[] language plpgsql stable as $$
begin
    return (select array_agg(row(t.id, fulfilled, a.actor)::final order by t.id) from unnest(acts) a join tasks t on t.id = a.id where t.needed);
end $$;

-- needs_fail: waiting → skipped, for tasks that need what has failed, and for those that need these. What is marked always runs
-- all the same, once all that it needs is over. Internal.
create function otto.needs_fail(ended otto.final[], out news otto.new_event[], out skipped otto.act[]) language plpgsql as $$
begin
    if (select bool_and(e.fulfilled) from unnest(ended) e) then return; end if;
    with recursive lost as (
        select d.id, d.run_id, d.needed, n.id as need, n.name, e.actor
          from unnest(ended) e join tasks n on n.id = e.task_id
          join task_edges g on g.run_id = n.run_id and g.need_id = n.id
          join tasks d on d.id = g.task_id
         where not e.fulfilled and d.state = 'waiting' and not d.always
        union
        select d.id, d.run_id, d.needed, l.id, t.name, l.actor
          from lost l join tasks t on t.id = l.id
          join task_edges g on g.run_id = l.run_id and g.need_id = l.id
          join tasks d on d.id = g.task_id
         where l.needed and d.state = 'waiting' and not d.always
    ), first as (
        select distinct on (l.id) l.id, l.name, l.actor from lost l order by l.id, l.need
    ), u as (
        update tasks t set state = 'skipped', reason = 'need_failed: ' || f.name, finished_at = clock()
          from first f where t.id = f.id
        returning t.*, f.actor
    )
    select array_agg(row('task.skipped', true, u.actor, u.run_id, u.stage_id, u.id, null, null, jsonb_build_object('reason', u.reason))::new_event order by u.id),
           array_agg(row(u.id, u.actor)::act order by u.id)
      into news, skipped from u;
end $$;

-- needs_count counts needs that are over, and starts what has none left. Internal.
create function otto.needs_count(ended otto.final[])
returns otto.new_event[] language plpgsql as $$
declare ready act[];
begin
    with over as (
        select g.task_id, count(*) as n, max(e.actor) as actor
          from unnest(ended) e join tasks n on n.id = e.task_id
          join task_edges g on g.run_id = n.run_id and g.need_id = n.id
         group by g.task_id
    ), u as (
        update tasks t set needs_left = t.needs_left - o.n from over o where t.id = o.task_id and t.state = 'waiting'
        returning t.id, t.needs_left, o.actor
    )
    select array_agg(row(u.id, u.actor)::act order by u.id) into ready from u where u.needs_left = 0;
    return tasks_begin(ready);
end $$;
