-- The transitions of a stage. All are internal: a run or a task that moves takes its stage along, under the run's lock.

-- stages_start opens stages that the run has reached. If one of their tasks starts with that: waiting → running. Others are
-- running since a task started that does not wait for its stage, or wait for such a task.
create function otto.stages_start(crossings otto.crossing[])
returns otto.new_event[] language plpgsql as $$
declare news new_event[]; opened crossing[];
begin
    if cardinality(crossings) = 0 then return '{}'; end if;
    with u as (
        update stages s set state = case when o.starts then 'running' else s.state end, started_at = case when o.starts then clock() else s.started_at end,
               reached = case when not o.starts then true end
          from unnest(crossings) c join stages w on w.id = c.stage_id and w.finished_at is null and coalesce(w.reached, w.state = 'running') is false
         cross join lateral (select w.state = 'waiting' and exists (
                select from tasks t where t.run_id = w.run_id and t.stage_index = w.index and t.state = 'waiting' and t.needs_left is null and (c.go or t.always)) as starts) o
         where s.id = w.id
        returning s.id, s.run_id, c, o.starts
    )
    select array_agg(row('stage.started', false, (u.c).actor, u.run_id, u.id, null, null, null, null)::new_event order by u.run_id) filter (where u.starts),
           array_agg(u.c order by u.run_id)
      into news, opened from u;
    return coalesce(news, '{}') || tasks_open(opened);
end $$;

-- stages_enter: waiting → running, for stages one of whose tasks starts before the run has reached them. Internal.
create function otto.stages_enter(acts otto.act[])
returns otto.new_event[] language plpgsql as $$
declare news new_event[];
begin
    with u as (
        update stages s set state = 'running', started_at = clock(), reached = coalesce(s.reached, false)
          from (select t.stage_id, max(a.actor) as actor from unnest(acts) a join tasks t on t.id = a.id group by t.stage_id) a
         where s.id = a.stage_id and s.state = 'waiting'
        returning s.id, s.run_id, a.actor
    )
    select array_agg(row('stage.started', false, u.actor, u.run_id, u.id, null, null, null, null)::new_event order by u.id) into news from u;
    return news;
end $$;

-- severity_before is the worst outcome of the stages before an index; those are final when it is asked.
create function otto.severity_before(run bigint, upto int) returns smallint
language plpgsql stable as $$
begin
    return coalesce((select max(s.severity) from stages s where s.run_id = run and s.index < upto), 0);
end $$;

-- stage_stops_at says why a stage, or the rest of it, does not run: what has failed before, or that nothing has.
create function otto.stage_stops_at(s stages) returns text language plpgsql stable as $$
declare before smallint := severity_before(s.run_id, s.index);
begin
    if s.on_failure and before < severity('failed') then return 'nothing_failed'; end if;
    if not s.on_failure and not continues(before) then
        return (select 'stage_' || b.state || ': ' || b.name from stages b
                 where b.run_id = s.run_id and b.index < s.index and not continues(b.severity) and b.finished_at is not null order by b.index limit 1);
    end if;
    return coalesce((select 'task_' || t.state || ': ' || t.name from tasks t
                      where t.run_id = s.run_id and t.stage_index = s.index and t.state in ('failed', 'aborted')
                        and (not t.allow_failure or t.state = 'aborted' and t.reason is not null)  -- one that was ordered, which nothing forgives
                      order by t.index limit 1), 'run_aborted');
end $$;

-- tasks_open lets tasks of stages that the run has reached begin: the next one of a linear stage, all of another. Where the run
-- does not go on, only those that are marked always run; those that do not are skipped. Tasks with needs follow these. Internal.
create function otto.tasks_open(opened otto.crossing[])
returns otto.new_event[] language plpgsql as $$
declare news new_event[]; ready act[]; passed act[];
begin
    select array_agg(row(t.id, o.actor)::act order by t.id) filter (where g.go or t.always),
           array_agg(row(t.id, o.actor)::act order by t.id) filter (where not (g.go or t.always))
      into ready, passed
      from unnest(opened) o join stages s on s.id = o.stage_id
      cross join lateral (select o.go and (s.mode <> 'linear' or continues(s.severity)) as go) g  -- a linear stage stops at its own failure
      cross join lateral (
           select min(t.index) as index from tasks t
            where s.mode = 'linear' and t.run_id = s.run_id and t.stage_index = s.index and t.state = 'waiting' and t.needs_left is null and (g.go or t.always)) f
      join tasks t on t.run_id = s.run_id and t.stage_index = s.index and t.index <= coalesce(f.index, 2147483647) and t.state = 'waiting' and t.needs_left is null;
    news := tasks_skip(passed) || tasks_ready(ready);
    if passed is null then return news; end if;
    return news || tasks_settle(array(
        select row(t.stage_id, count(*), 0, false, max(a.actor))::settled from unnest(passed) a join tasks t on t.id = a.id group by t.stage_id order by t.stage_id),
        finals_of(passed, false));
end $$;

-- stages_pass: waiting, running → skipped, or succeeded where a stage that would run has no tasks. All before where the run goes on;
-- none of them has a task that has run.
create function otto.stages_pass(crossings otto.crossing[])
returns otto.new_event[] language plpgsql as $$
declare passed act[]; skipped act[]; news new_event[];
begin
    passed := array(select row(s.id, c.actor)::act from unnest(crossings) c
                      join stages s on s.run_id = c.run_id and s.finished_at is null and s.index < coalesce(c.index, 2147483647) order by s.run_id, s.index);
    if cardinality(passed) = 0 then return '{}'; end if;
    skipped := array(select row(t.id, p.actor)::act from unnest(passed) p join stages s on s.id = p.id
                       join tasks t on t.run_id = s.run_id and t.stage_index = s.index where t.state = 'waiting' order by t.id);
    news := tasks_skip(skipped);
    update stages s set state = state_of(o.severity), tasks_left = 0, finished_at = clock(), severity = o.severity
      from unnest(passed) p, lateral (select stage_passes_as(p.id) as severity) o where s.id = p.id;
    update runs r set severity = greatest(r.severity, x.worst)
      from (select s.run_id, max(s.severity) as worst from unnest(passed) p join stages s on s.id = p.id group by s.run_id) x where r.id = x.run_id;

    news := news || array(select row('stage.' || s.state, true, p.actor, s.run_id, s.id, null, null, null, null)::new_event
                            from unnest(passed) p join stages s on s.id = p.id order by s.run_id, s.index);
    return news || tasks_settle('{}', finals_of(skipped, false));
end $$;

-- stage_passes_as is the severity of a stage that is passed over: succeeded, if it would have run and has no tasks. Internal.
create function otto.stage_passes_as(stage bigint) returns smallint language plpgsql stable as $$
declare s stages;
begin
    select * into s from stages where id = stage;
    perform from tasks t where t.run_id = s.run_id and t.stage_index = s.index limit 1;
    return severity(case when not found and (s.always or (not s.on_failure and continues(severity_before(s.run_id, s.index)))) then 'succeeded' else 'skipped' end);
end $$;

-- stages_settle counts tasks that became final. With the last one a stage ends: running → the worst outcome of its tasks;
-- waiting → aborted, when an abort took all of them. Then its run goes on. While tasks are left, a linear stage does.
create function otto.stages_settle(finals otto.settled[])
returns otto.new_event[] language plpgsql as $$
declare news new_event[]; following crossing[]; moved act[];
begin
    if coalesce(cardinality(finals), 0) = 0 then return '{}'; end if;
    with u as (
        update stages s set tasks_left = s.tasks_left - f.tasks, severity = greatest(s.severity, f.worst), warnings = s.warnings or f.warned,
               state = case when s.tasks_left = f.tasks then state_of(greatest(s.severity, f.worst)) else s.state end,
               finished_at = case when s.tasks_left = f.tasks then clock() end
          from unnest(finals) f where s.id = f.stage_id and s.state in ('waiting', 'running')
        returning s.*, f.actor, s.tasks_left = 0 as ended
    ), r as (
        update runs r set severity = greatest(r.severity, x.worst), warnings = r.warnings or x.warned
          from (select u.run_id, max(u.severity) as worst, bool_or(u.warnings) as warned from u where u.ended group by u.run_id) x where r.id = x.run_id
    )
    select array_agg(row('stage.' || u.state, true, u.actor, u.run_id, u.id, null, null, null, jsonb_build_object('warnings', nullif(u.warnings, false)))::new_event
                     order by u.run_id, u.index) filter (where u.ended),
           array_agg(distinct row(u.run_id, u.actor)::act) filter (where u.ended),
           array_agg(row(u.run_id, u.on_failure or continues(severity_before(u.run_id, u.index)), u.id, u.index, u.actor)::crossing order by u.id)
             filter (where u.tasks_left > 0 and u.mode = 'linear' and coalesce(u.reached, u.state = 'running'))
      into news, moved, following from u;
    news := stages_follow(following) || news;
    if moved is null then return news; end if;
    return news || runs_advance(array(select distinct on (m.id) m from unnest(moved) m order by m.id));
end $$;

-- stages_follow goes on with linear stages that have no task at work. Internal.
create function otto.stages_follow(following otto.crossing[])
returns otto.new_event[] language plpgsql as $$
begin
    if following is null then return '{}'; end if;
    return tasks_open(array(
        select f from unnest(following) f
         where not exists (select from tasks t where t.run_id = f.run_id and t.stage_index = f.index and t.needs_left is null
                              and t.state not in ('waiting', 'succeeded', 'unstable', 'failed', 'aborted', 'skipped'))));
end $$;
