-- The transitions of a step: waiting → running → the outcome. They follow what the holder of the lease reports.

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

-- step_report: waiting → running → succeeded, unstable, failed, aborted; waiting → skipped. By the holder of the lease;
-- repeating it changes nothing.
create function otto.step_report(lease uuid, epoch int, agent bigint, steps jsonb, actor text)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare t tasks;
begin
    select * into t from task_held(lease, epoch, agent, 'report steps');
    if t.state <> 'running' then perform refuse_task(t.id, 'report steps'); end if;
    perform steps_record(t, steps, actor);
    return next t;
end $$;

-- steps_record takes reports [{index, state, exit_code, reason, duration_ms}] over. Internal, under the task's lock.
create function otto.steps_record(t tasks, reports jsonb, actor text)
returns void language plpgsql as $$
#variable_conflict use_column
declare r record; begun int[]; ended int[];
begin
    if coalesce(jsonb_array_length(reports), 0) = 0 then return; end if;
    with u as (
        update steps s set state = 'running', started_at = clock()
          from jsonb_to_recordset(reports) r(index int, state text)
         where s.task_id = t.id and s.epoch = t.epoch and s.index = r.index and s.state = 'waiting' and r.state not in ('waiting', 'skipped')
        returning s.index
    )
    select array_agg(index order by index) into begun from u;
    with u as (
        update steps s set state = r.state, exit_code = r.exit_code, reason = r.reason, duration_ms = r.duration_ms, finished_at = clock()
          from (select distinct on (index) * from jsonb_to_recordset(reports)
                    x(index int, state text, exit_code int, reason text, duration_ms bigint)
                 where state not in ('waiting', 'running') order by index) r
         where s.task_id = t.id and s.epoch = t.epoch and s.index = r.index and s.state in ('waiting', 'running')
        returning s.index
    )
    select array_agg(index order by index) into ended from u;
    perform steps_announce(t, begun, ended, actor);
end $$;

-- steps_announce writes the events of steps that began or ended, in the order of the steps. Internal.
create function otto.steps_announce(t tasks, begun int[], ended int[], actor text)
returns void language plpgsql as $$
begin
    perform case when e.ends then emit_end('step', e.state, actor, t.run_id, t.stage_id, t.id, t.epoch, e.index, e.data)
                 else emit('step.started', actor, t.run_id, t.stage_id, t.id, t.epoch, e.index) end
       from (select s.index, k.ends, s.state, jsonb_build_object('exit_code', s.exit_code, 'reason', s.reason) as data
               from steps s, (values (false), (true)) k(ends)
              where s.task_id = t.id and s.epoch = t.epoch and s.index = any(case when k.ends then ended else begun end)
              order by s.index, k.ends) e;
end $$;

-- steps_close ends the steps that an ending attempt leaves open: running ones are aborted, waiting ones skipped. Internal.
create function otto.steps_close(t tasks, why text, actor text)
returns void language plpgsql as $$
#variable_conflict use_column
declare ended int[];
begin
    with u as (
        update steps set state = case state when 'running' then 'aborted' else 'skipped' end, finished_at = clock(),
               reason = case state when 'running' then why end
         where task_id = t.id and epoch = t.epoch and state in ('waiting', 'running')
        returning index
    )
    select array_agg(index order by index) into ended from u;
    perform steps_announce(t, null, ended, actor);
end $$;

-- steps_worst is the most severe effective outcome of an attempt's steps.
create function otto.steps_worst(task bigint, epoch int) returns smallint
language plpgsql stable as $$
#variable_conflict use_column
begin
    return (select max(case when allow_failure and severity(state) >= 2 then 1 else severity(state) end)
              from steps where task_id = task and epoch = steps_worst.epoch);
end $$;
