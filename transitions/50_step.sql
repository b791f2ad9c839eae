-- The transitions of a step: waiting → running → the outcome. They follow what the holder of the lease reports.

-- step_report: waiting → running → succeeded, unstable, failed, aborted; waiting → skipped. By the holder of the lease;
-- repeating it changes nothing.
create function otto.step_report(lease uuid, epoch int, agent bigint, steps jsonb, actor text)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare t tasks;
begin
    select * into t from task_held(lease, epoch, agent, 'report steps');
    if t.state <> 'running' then perform refuse_task(t.id, 'report steps'); end if;
    perform emit(steps_record(array[row(lease, epoch, agent, null, null, null, steps, null, actor, t.run_id, t.stage_id, t.id, false, null, null)::report], false));
    return next t;
end $$;

-- steps_lay_out inserts the steps of new attempts. Internal.
create function otto.steps_lay_out(granted uuid[])
returns void language plpgsql as $$
begin
    insert into steps (task_id, epoch, index, name, allow_failure)
    select t.id, l.epoch, s.n - 1, s.body ->> 'name', coalesce((s.body ->> 'allow_failure')::boolean, false)
      from leases l
      join tasks t on t.id = l.task_id
      join runs r on r.id = t.run_id
      join plan_tasks p on p.plan_digest = r.plan_digest and p.stage_index = t.stage_index and p.task_index = t.index,
           json_array_elements(p.spec -> 'steps') with ordinality s(body, n)
     where l.id = any(granted);
end $$;

-- steps_record takes over what reports say of steps: [{index, state, exit_code, reason, duration_ms}]. Where the attempt
-- closes, the steps that it leaves open end too: running ones are aborted, waiting ones skipped. Internal, under the tasks' locks.
create function otto.steps_record(reports otto.report[], closing boolean)
returns otto.new_event[] language plpgsql as $$
#variable_conflict use_column
declare news new_event[];
begin
    with said as (  -- the last word about a step is its end
        select distinct on (r.task_id, x.index) r.task_id, x.*
          from unnest(reports) r, jsonb_to_recordset(r.steps) x(index int, state text, exit_code int, reason text, duration_ms bigint)
         where x.state <> 'waiting' order by r.task_id, x.index, x.state = 'running'
    ), due as (
        select r, s.task_id, s.epoch, s.index, d.exit_code, d.duration_ms,
               case when d.state is not null and (d.state <> 'running' or not closing) then d.state
                    when coalesce(d.state, s.state) = 'running' then 'aborted' else 'skipped' end as becomes,
               case when d.state is null or d.state = 'running' then case when coalesce(d.state, s.state) = 'running' then r.reason end else d.reason end as reason,
               s.state = 'waiting' and coalesce(d.state, 'skipped') <> 'skipped' as begins
          from unnest(reports) r
          join steps s on s.task_id = r.task_id and s.epoch = r.epoch and s.state in ('waiting', 'running')
          left join said d on d.task_id = r.task_id and d.index = s.index
         where closing or d.state is not null
    ), u as (
        update steps s set state = d.becomes, exit_code = d.exit_code, reason = case when d.becomes <> 'running' then d.reason end, duration_ms = d.duration_ms,
               started_at = case when d.begins then clock() else s.started_at end, finished_at = case when d.becomes <> 'running' then clock() end
          from due d where (s.task_id, s.epoch, s.index) = (d.task_id, d.epoch, d.index)
        returning d.r, s.*, d.begins
    )
    select array_agg(row('step.' || case when k.ends then u.state else 'started' end, k.ends, (u.r).actor, (u.r).run_id, (u.r).stage_id, u.task_id, u.epoch, u.index,
                         case when k.ends then jsonb_build_object('exit_code', u.exit_code, 'reason', u.reason) end)::new_event order by u.task_id, u.index, k.ends)
      into news
      from u, lateral (values (false), (true)) k(ends) where case when k.ends then u.state <> 'running' else u.begins end;
    return coalesce(news, '{}');
end $$;

-- steps_worst is the most severe effective outcome of an attempt's steps.
create function otto.steps_worst(task bigint, epoch int) returns smallint
language plpgsql stable as $$
#variable_conflict use_column
begin
    return (select max(case when allow_failure and severity(state) >= 2 then 1 else severity(state) end)
              from steps where task_id = task and epoch = steps_worst.epoch);
end $$;
