-- The transitions of a stage. All are internal: a run or a task that moves takes its stage along, under the run's lock.

-- stage_start: waiting → running, and its first tasks become ready; where the run does not go on, only those that are
-- marked always run.
create function otto.stage_start(stage bigint, go boolean, actor text)
returns void language plpgsql as $$
declare s stages;
begin
    update stages set state = 'running', started_at = clock() where id = stage and state = 'waiting' returning * into s;
    if not found then return; end if;
    perform emit('stage.started', actor, s.run_id, s.id);
    if s.mode = 'linear' then
        perform stage_next(s.id, actor);
        perform stage_finish(s.id, actor);
        return;
    end if;
    perform stage_skip(stage, array(select t.id from tasks t where t.run_id = s.run_id and t.stage_index = s.index and not (go or t.always)), actor);
    perform tasks_ready(array(select t.id from tasks t where t.run_id = s.run_id and t.stage_index = s.index and (go or t.always)), actor);
    perform stage_finish(s.id, actor);
end $$;

-- severity_before is the worst outcome of the stages before an index; those are final when it is asked.
create function otto.severity_before(run bigint, upto int) returns smallint
language plpgsql stable as $$
begin
    return coalesce((select max(s.severity) from stages s where s.run_id = run and s.index < upto), 0);
end $$;

-- stage_next makes the next task of a linear stage ready, and skips those that do not run.
create function otto.stage_next(stage bigint, actor text)
returns void language plpgsql as $$
declare s stages; nxt tasks; go boolean;
begin
    select * into s from stages where id = stage;
    go := continues(greatest(severity_before(s.run_id, s.index), s.severity));
    select * into nxt from tasks t
     where t.run_id = s.run_id and t.stage_index = s.index and t.state = 'waiting' and (go or t.always) order by t.index limit 1;
    perform stage_skip(stage, array(select t.id from tasks t where t.run_id = s.run_id and t.stage_index = s.index
                                       and t.index < coalesce(nxt.index, 2147483647)), actor);
    perform tasks_ready(array[nxt.id], actor);
end $$;

-- stage_skip skips tasks of a running stage and counts them. Internal.
create function otto.stage_skip(stage bigint, ids bigint[], actor text)
returns void language plpgsql as $$
declare skipped int := tasks_skip(ids, actor);
begin
    if skipped > 0 then
        update stages set tasks_left = tasks_left - skipped where id = stage;
    end if;
end $$;

-- stages_pass: waiting → skipped, or succeeded where a stage that would run has no tasks. All before the index upto.
create function otto.stages_pass(run bigint, upto int, go boolean, actor text)
returns void language plpgsql as $$
declare passed bigint[];
begin
    passed := array(select s.id from stages s where s.run_id = run and s.state = 'waiting' and s.index < coalesce(upto, 2147483647) order by s.index);
    if cardinality(passed) = 0 then return; end if;
    perform tasks_skip(array(select t.id from tasks t
                              where t.run_id = run and t.stage_id = any(passed)), actor);
    update stages set state = case when tasks_left = 0 and (go or always) then 'succeeded' else 'skipped' end, tasks_left = 0, finished_at = clock()
     where id = any(passed);
    update stages set severity = severity(state) where id = any(passed);
    update runs set severity = greatest(severity, (select max(s.severity) from stages s where s.id = any(passed))) where id = run;

    perform emit_end('stage', s.state, actor, run, s.id)
       from (select * from stages where id = any(passed) order by index) s;
end $$;

-- stage_settle counts tasks that became final. The last one ends the stage and lets the run go on.
create function otto.stage_settle(stage bigint, settled int, worst smallint, warned boolean, actor text)
returns void language plpgsql as $$
declare s stages;
begin
    update stages set tasks_left = tasks_left - settled, severity = greatest(severity, worst), warnings = warnings or warned
     where id = stage
    returning * into s;
    if s.mode = 'linear' and s.tasks_left > 0 and s.state = 'running'
       and not exists (select from tasks t where t.run_id = s.run_id and t.stage_index = s.index and t.state not in ('waiting', 'succeeded', 'unstable', 'failed', 'aborted', 'skipped')) then
        perform stage_next(stage, actor);
    end if;
    perform stage_finish(stage, actor);
end $$;

-- stage_finish: running → the worst outcome of its tasks; waiting → aborted, when an abort took all of them. Does
-- nothing while tasks are left.
create function otto.stage_finish(stage bigint, actor text)
returns void language plpgsql as $$
declare s stages;
begin
    update stages set state = state_of(severity), finished_at = clock()
     where id = stage and state in ('waiting', 'running') and tasks_left = 0
    returning * into s;
    if not found then return; end if;
    update runs set severity = greatest(severity, s.severity), warnings = warnings or s.warnings where id = s.run_id;

    perform emit_end('stage', s.state, actor, s.run_id, s.id, data => jsonb_build_object('warnings', nullif(s.warnings, false)));
    perform run_advance(s.run_id, actor);
end $$;
