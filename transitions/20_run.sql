-- The transitions of a run.

-- run_create: – → pending. With a plan the run starts at once, else a job plans it from its source.
create function otto.run_create(project text, source text, ottofile text, plan text, rerun_of bigint, actor text)
returns setof runs language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare r runs; p bigint;
begin
    select id into p from projects where name = project;
    if not found then
        insert into projects (name, created_at) values (project, clock()) on conflict (name) do nothing;
        select id into p from projects where name = project;
    end if;
    insert into runs (project_id, source_digest, ottofile, plan_digest, rerun_of, created_by, created_at)
    values (p, source, run_create.ottofile, plan, run_create.rerun_of, actor, clock())
    returning * into r;

    perform emit('run.created', actor, r.id, data => jsonb_build_object('project', project, 'source', source, 'rerun_of', rerun_of));
    if plan is null then
        perform enqueue('source_plan', jsonb_build_object('run', r.id));
        return next r;
    else
        return query select * from run_plan(r.id, plan, null, actor);
    end if;
end $$;

-- run_plan: pending → running (or final, where the plan has nothing to do). Lays out the rows of a stored plan.
create function otto.run_plan(run bigint, plan text, diagnostics jsonb, actor text)
returns setof runs language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare r runs;
begin
    perform lock_run(run);
    update runs set state = 'running', plan_digest = plan, diagnostics = run_plan.diagnostics, started_at = clock()
     where id = run and state = 'pending'
    returning * into r;
    if not found then perform refuse_run(run, 'plan'); end if;
    perform plan_lay_out(run, plan);

    perform emit('run.planned', actor, run, data => jsonb_build_object('plan', plan));
    perform emit('run.started', actor, run);
    perform run_advance(run, actor);
    return query select * from runs where id = run;
end $$;

-- plan_lay_out inserts a run's stages and tasks.
create function otto.plan_lay_out(run bigint, plan text)
returns void language plpgsql as $$
begin
    insert into stages (run_id, index, name, mode, always, tasks_left)
    select run, s.n - 1, s.body ->> 'name', s.body ->> 'mode', coalesce((s.body ->> 'always')::boolean, false),
           json_array_length(s.body -> 'tasks')
      from plans p, json_array_elements(p.body -> 'stages') with ordinality s(body, n)
     where p.digest = plan;

    insert into tasks (run_id, stage_id, stage_index, index, name, requires, always, allow_failure)
    select run, s.id, t.stage_index, t.task_index, t.spec ->> 'name', coalesce(t.spec -> 'requires', '{}')::jsonb,
           s.always or coalesce((t.spec ->> 'always')::boolean, false), coalesce((t.spec ->> 'allow_failure')::boolean, false)
      from plan_tasks t
      join stages s on s.run_id = run and s.index = t.stage_index
     where t.plan_digest = plan
     order by t.stage_index, t.task_index;
end $$;

-- run_fail: pending → failed. The source cannot be planned.
create function otto.run_fail(run bigint, reason text, diagnostics jsonb, actor text)
returns setof runs language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare r runs;
begin
    perform lock_run(run);
    update runs set state = 'failed', severity = severity('failed'), reason = run_fail.reason, diagnostics = run_fail.diagnostics, finished_at = clock()
     where id = run and state = 'pending'
    returning * into r;
    if not found then perform refuse_run(run, 'fail'); end if;

    perform run_ended(r, actor);
    return next r;
end $$;

-- run_abort: pending → aborted; running, blocked → aborting; aborting → aborting, and stops what is marked always too.
-- Everything that has not begun stops at once; a running task's agent is told.
create function otto.run_abort(run bigint, actor text, reason text default null)
returns setof runs language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare r runs; was text;
begin
    select state into was from lock_run(run);
    update runs
       set state = case when state = 'pending' then 'aborted' else 'aborting' end,
           severity = case when state = 'pending' then severity('aborted') else severity end,
           finished_at = case when state = 'pending' then clock() end,
           abort_reason = coalesce(abort_reason, run_abort.reason), reason = coalesce(reason, run_abort.reason, 'aborted by ' || actor)
     where id = run and state in ('pending', 'running', 'blocked', 'aborting')
    returning * into r;
    if not found then perform refuse_run(run, 'abort'); end if;

    if was = 'pending' then
        perform run_ended(r, actor);
    else
        perform emit('run.aborting', actor, run, data => jsonb_build_object('reason', reason, 'again', was = 'aborting'));
        perform tasks_abort(run, null, was = 'aborting', coalesce(reason, 'run_aborted'), actor);
        perform run_advance(run, actor);
    end if;
    return query select * from runs where id = run;
end $$;

-- run_rerun: – → pending. A final run is repeated as a new run of the same plan and source.
create function otto.run_rerun(run bigint, actor text)
returns setof runs language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare r runs; p text;
begin
    select r.* into r from runs r where r.id = run and r.finished_at is not null;
    if not found then perform refuse_run(run, 'rerun'); end if;
    select name into p from projects where id = r.project_id;
    return query select * from run_create(p, r.source_digest, r.ottofile, r.plan_digest, r.id, actor);
end $$;

-- run_advance follows what changed, under the run's lock: it opens the next stage that has a task to run, passes over
-- those before it, and ends the run after the last. It may be called at any time; what is up to date stays as it is.
create function otto.run_advance(run bigint, actor text)
returns void language plpgsql as $$
declare r runs; nxt stages; go boolean;
begin
    select * into r from runs where id = run;
    if r.finished_at is not null or exists (select from stages s where s.run_id = run and s.state = 'running') then return; end if;
    go := continues(severity_before(run, (select min(s.index) from stages s where s.run_id = run and s.state = 'waiting')));
    select * into nxt from stages s
     where s.run_id = run and s.state = 'waiting'
       and exists (select from tasks t where t.run_id = run and t.stage_index = s.index and (go or t.always))
     order by s.index limit 1;
    perform stages_pass(run, nxt.index, go, actor);
    if nxt.id is not null then
        perform stage_start(nxt.id, go, actor);
        return;
    end if;
    update runs set state = state_of(case when exists (select from stages s where s.run_id = run) then severity else 1::smallint end),
                    finished_at = clock()
     where id = run
    returning * into r;
    perform run_ended(r, actor);
end $$;

-- run_ended announces a final run.
create function otto.run_ended(r runs, actor text)
returns void language plpgsql as $$
begin
    perform emit_end('run', r.state, actor, r.id, data => jsonb_build_object('reason', r.reason, 'warnings', r.warnings));
end $$;
