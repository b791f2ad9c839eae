-- The transitions of a run.

-- run_create: – → pending. With a plan the run starts at once, or is skipped if the plan says so; else a job plans it from its source.
create function otto.run_create(project text, source text, ottofile text, plan text, rerun_of bigint, actor text, event jsonb default null, params jsonb default null, priority int default null,
                                repository text default null, ref text default null, commit text default null)
returns setof runs language plpgsql security definer set search_path = public, otto, pg_temp as $$
begin
    return query select * from runs_create(jsonb_build_array(jsonb_build_object(
        'project', project, 'source', source, 'ottofile', ottofile, 'plan', plan, 'rerun_of', rerun_of, 'actor', actor, 'event', event, 'params', params, 'priority', priority,
        'repository', repository, 'ref', ref, 'commit', commit)));
end $$;

-- runs_create is run_create for many: an array of run_request. Either all are created or none.
create function otto.runs_create(requests jsonb)
returns setof runs language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare wanted run_request[] := array(select w from jsonb_populate_recordset(null::run_request, requests) w); news new_event[]; made bigint[]; planned act[]; passed new_event[];
begin
    insert into projects (name, created_at)
    select w.project, clock() from unnest(wanted) w
     where not exists (select from projects p where p.name = w.project) group by w.project order by w.project
    on conflict (name) do nothing;
    perform refuse_ungranted(w.plan, w.project) from unnest(wanted) w where w.plan is not null;
    with r as (
        insert into runs (project_id, priority, state, reason, source_digest, ottofile, plan_digest, rerun_of, created_by, created_at, started_at, finished_at, repository, ref, commit_sha)
        select p.id, coalesce(w.priority, 0), case when w.plan is null then 'pending' when l.rules ? 'skips' then 'skipped' else 'running' end, l.rules ->> 'skips',
               w.source, w.ottofile, w.plan, w.rerun_of, w.actor, clock(),
               case when w.plan is not null and l.rules -> 'skips' is null then clock() end, case when l.rules ? 'skips' then clock() end, w.repository, w.ref, w.commit
          from unnest(wanted) with ordinality w(project, source, ottofile, plan, rerun_of, actor, event, params, priority, repository, ref, commit, place)
          join projects p on p.name = w.project left join plans l on l.digest = w.plan order by w.place
        returning *, runs as self
    )
    select array_agg(row('run.created', false, r.created_by, r.id, null, null, null, null,
                     jsonb_build_object('project', p.name, 'source', r.source_digest, 'rerun_of', r.rerun_of)
                         || case when r.repository is null then '{}' else jsonb_build_object('repository', r.repository, 'commit', r.commit_sha) end)::new_event order by r.id),
           array_agg(r.id), array_agg(row(r.id, r.created_by)::act order by r.id) filter (where r.state = 'running'),
           array_agg(run_ended(r.self, r.created_by) order by r.id) filter (where r.state = 'skipped')
      into news, made, planned, passed
      from r join projects p on p.id = r.project_id;
    if requests @? '$[*].* ? (@.type() == "object")' then
        insert into run_facts (run_id, event, params)
        select made[w.place], w.event, w.params from unnest(wanted) with ordinality w(project, source, ottofile, plan, rerun_of, actor, event, params, priority, repository, ref, commit, place)
         where num_nonnulls(w.event, w.params) > 0;
    end if;

    perform emit(news || passed || runs_start(planned));
    perform enqueue('source_plan', jsonb_build_object('run', r.id)) from (select id from runs where id = any(made) and plan_digest is null order by id) r;
    return query select * from runs where id = any(made) order by id;
end $$;

-- run_plan: pending → running (or final, where the plan has nothing to do). Lays out the rows of a stored plan. A plan that
-- does not start: pending → skipped; one that asks for what the project has no grant for: pending → failed.
create function otto.run_plan(run bigint, plan text, diagnostics jsonb, actor text)
returns setof runs language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare r runs; skips text := (select p.rules ->> 'skips' from plans p where p.digest = plan); lacks text; ends boolean;
begin
    perform lock_run(run);
    lacks := (select plan_ungranted(plan, p.name) from runs u join projects p on p.id = u.project_id where u.id = run);
    ends := num_nonnulls(skips, lacks) > 0;
    update runs set state = case when lacks is not null then 'failed' when ends then 'skipped' else 'running' end, reason = coalesce(lacks, skips),
           plan_digest = plan, diagnostics = run_plan.diagnostics, started_at = case when not ends then clock() end, finished_at = case when ends then clock() end
     where id = run and state = 'pending'
    returning * into r;
    if not found then perform refuse_run(run, 'plan'); end if;

    perform emit(case when not ends then runs_start(array[row(run, actor)::act]) else array[run_ended(r, actor)] end);
    return query select * from runs where id = run;
end $$;

-- runs_start lays out the plans of runs that have just become running, and lets them go. Internal.
create function otto.runs_start(started otto.act[])
returns otto.new_event[] language plpgsql as $$
declare news new_event[];
begin
    if started is null then return '{}'; end if;
    news := array(select row(k.kind, false, a.actor, a.id, null, null, null, null, case when k.kind = 'run.planned' then jsonb_build_object('plan', r.plan_digest) end)::new_event
                    from unnest(started) a join runs r on r.id = a.id, lateral (values ('run.planned'), ('run.started')) k(kind) order by a.id, k.kind);
    return news || plans_lay_out(started);
end $$;

-- plans_lay_out inserts the stages and tasks of runs. A first stage that has tasks starts in the same breath, since nothing has
-- failed before it: to insert a row as it will be costs half of inserting and moving it. Any other beginning is runs_advance's, and
-- that of a plan with rules. Internal.
create function otto.plans_lay_out(started otto.act[])
returns otto.new_event[] language plpgsql as $$
declare news new_event[]; left_over act[]; now timestamptz := clock();
begin
    insert into stages (run_id, index, name, mode, always, on_failure, tasks_left, state, started_at)
    select r.id, s.n - 1, s.body ->> 'name', s.body ->> 'mode', coalesce((s.body ->> 'always')::boolean, false),
           coalesce(p.rules -> 'on_failure' @> to_jsonb(s.n - 1), false), t.n - case when p.rules ? 'tasks' then omitted_of(p.digest, s.n - 1) else 0 end,
           case when b.begins then 'running' else 'waiting' end, case when b.begins then now end
      from unnest(started) a join runs r on r.id = a.id join plans p on p.digest = r.plan_digest
     cross join json_array_elements(p.body -> 'stages') with ordinality s(body, n)
     cross join lateral (select json_array_length(s.body -> 'tasks') as n) t
     cross join lateral (select s.n = 1 and t.n > 0 and p.rules is null as begins) b
     order by r.id, s.n;

    with t as (
        insert into tasks (run_id, project_id, priority, stage_id, stage_index, index, name, requires, pool, always, allow_failure, state, ready_at, reason, finished_at,
                           needs_left, needed, undecided, group_project, group_name, group_limit, on_conflict)
        select r.id, r.project_id, r.priority, s.id, t.stage_index, t.task_index, t.spec ->> 'name', coalesce(t.requires, (t.spec -> 'requires')::jsonb, '{}') || checkout_asks(r.repository, t.spec), coalesce(t.spec ->> 'pool', 'default'),
               s.always or coalesce((t.spec ->> 'always')::boolean, false), coalesce((t.spec ->> 'allow_failure')::boolean, false),
               case when b.begins then 'ready' when t.rules ? 'omitted' then 'skipped' when t.rules ? 'unknown' then 'quarantined' else 'waiting' end,
               case when b.begins then now end,
               coalesce(t.rules ->> 'omitted', 'needs ' || (t.rules ->> 'unknown') || ', which is no task of the plan'), case when t.rules ? 'omitted' then now end,
               case when not s.on_failure then jsonb_array_length(t.rules -> 'needs') end, (t.rules -> 'needed')::boolean, (t.rules -> 'later')::boolean,
               case when t.rules ? 'concurrency' then r.project_id end, t.rules #>> '{concurrency,group}',
               (t.rules #> '{concurrency,limit}')::int, t.rules #>> '{concurrency,on_conflict}'
          from unnest(started) a join runs r on r.id = a.id
          join plan_tasks t on t.plan_digest = r.plan_digest
          join stages s on s.run_id = r.id and s.index = t.stage_index
         cross join lateral (select s.state = 'running' and (s.mode <> 'linear' or t.task_index = 0) as begins) b
         order by r.id, t.stage_index, t.task_index
        returning run_id, stage_id, id, state, reason
    )
    select array_agg(row('task.' || t.state, t.state = 'skipped', a.actor, t.run_id, t.stage_id, t.id, null, null,
                         case when t.state <> 'ready' then jsonb_build_object('reason', t.reason) end)::new_event order by t.id)
      into news from t join unnest(started) a on a.id = t.run_id where t.state <> 'waiting';
    perform wake('ready');
    news := array(select row('stage.started', false, a.actor, s.run_id, s.id, null, null, null, null)::new_event
                    from unnest(started) a join stages s on s.run_id = a.id and s.index = 0 where s.state = 'running' order by a.id) || news;
    select array_agg(a) into left_over from unnest(started) a where (select s.state from stages s where s.run_id = a.id and s.index = 0) is distinct from 'running';
    if left_over is null then return news; end if;
    return news || needs_lay_out(left_over) || runs_advance(left_over);
end $$;

-- checkout_asks is what a task of a run of a repository requires of its agent: that it can check out. Internal.
create function otto.checkout_asks(repository text, spec json) returns jsonb language sql immutable as $$
    select case when repository is null or spec #>> '{checkout,off}' = 'true' then '{}' else '{"checkout": true}' end::jsonb
$$;

-- omitted_of counts the tasks of a stage that do not run, by the plan. Internal.
create function otto.omitted_of(plan text, stage bigint) returns bigint language plpgsql stable as $$
begin
    return (select count(*) from plan_tasks t where t.plan_digest = plan and t.stage_index = stage and t.rules ? 'omitted');
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

    perform emit(array[run_ended(r, actor)]);
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
        perform emit(array[run_ended(r, actor)]);
    else
        perform emit(row('run.aborting', false, actor, run, null, null, null, null, jsonb_build_object('reason', reason, 'again', was = 'aborting'))::new_event
                     || tasks_abort(run, null, was = 'aborting', coalesce(reason, 'run_aborted'), actor)
                     || runs_advance(array[row(run, actor)::act]));
    end if;
    return query select * from runs where id = run;
end $$;

-- run_rerun: – → pending. A final run is repeated as a new run of the same plan and source.
create function otto.run_rerun(run bigint, actor text)
returns setof runs language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare r runs; p text; f run_facts;
begin
    select r.* into r from runs r where r.id = run and r.finished_at is not null;
    if not found then perform refuse_run(run, 'rerun'); end if;
    select name into p from projects where id = r.project_id;
    select * into f from run_facts where run_id = run;
    return query select * from run_create(p, r.source_digest, r.ottofile, r.plan_digest, r.id, actor, f.event, f.params, r.priority, r.repository, r.ref, r.commit_sha);
end $$;

-- runs_advance follows what changed, under the runs' locks: where all stages before one are final it opens that or, if it has no
-- task to run, the next that has, and passes over those between; after the last it ends the run. It may be called at any time;
-- what is up to date stays as it is. Internal.
create function otto.runs_advance(acts otto.act[])
returns otto.new_event[] language plpgsql as $$
declare crossings crossing[];
begin
    if acts is null then return '{}'; end if;
    crossings := array(
        select row(r.id, n.go, n.id, n.index, a.actor)::crossing
          from unnest(acts) a join runs r on r.id = a.id
          left join lateral (select s.state, s.reached from stages s where s.run_id = r.id and s.finished_at is null order by s.index limit 1) f on true
          left join lateral (
               select s.id, s.index, g.go
                 from (select s.*, max(s.severity) filter (where s.finished_at is not null)
                              over (order by s.index rows between unbounded preceding and 1 preceding) as before from stages s where s.run_id = r.id) s
                cross join lateral (select stage_goes_on(s.on_failure, coalesce(s.before, 0::smallint), r.state) as go) g
                where f.state is not null and s.finished_at is null
                  and exists (select from tasks t where t.run_id = r.id and t.stage_index = s.index and t.state <> 'skipped'
                                 and (g.go or t.needs_left is not null or (t.always and not s.on_failure)))
                order by s.index limit 1) n on true
         where r.state not in ('succeeded', 'unstable', 'failed', 'aborted', 'skipped')
           and coalesce(f.reached, f.state = 'running', false) is false
         order by r.id);
    if cardinality(crossings) = 0 then return '{}'; end if;
    return stages_pass(crossings)
        || stages_start(array(select c from unnest(crossings) c where c.stage_id is not null))
        || runs_end(array(select c from unnest(crossings) c where c.stage_id is null));
end $$;

-- stage_goes_on says whether what is not marked always runs in a stage, after the worst outcome before it.
create function otto.stage_goes_on(on_failure boolean, before smallint, run_state text) returns boolean language sql immutable as $$
    select case when on_failure then before = 4 and run_state <> 'aborting' else before <= 2 end
$$;

-- runs_end: any state → the worst outcome of the stages. Internal, under the runs' locks.
create function otto.runs_end(crossings otto.crossing[])
returns otto.new_event[] language plpgsql as $$
declare news new_event[];
begin
    if cardinality(crossings) = 0 then return '{}'; end if;
    with u as (
        update runs r set state = state_of(case when (select s.id from stages s where s.run_id = r.id limit 1) is null then 1::smallint else r.severity end),
                          finished_at = clock()
          from unnest(crossings) c where r.id = c.run_id
        returning r, c.actor
    )
    select array_agg(run_ended(u.r, u.actor) order by (u.r).id) into news from u;
    return news;
end $$;

-- run_ended is the event of a final run.
create function otto.run_ended(r runs, actor text) returns otto.new_event language plpgsql as $$
begin
    return row('run.' || r.state, true, actor, r.id, null, null, null, null, jsonb_build_object('reason', r.reason, 'warnings', r.warnings))::new_event;
end $$;
