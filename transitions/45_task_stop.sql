-- Transitions that take a task away from its agent, or stop it.

-- tasks_abort stops tasks of a run, or of one of its stages: what has not started becomes aborted at once, the agents of
-- what runs are told. What is marked always is spared unless all is true. Internal, under the run's lock.
create function otto.tasks_abort(run bigint, stage bigint, spare_none boolean, reason text, actor text)
returns otto.new_event[] language plpgsql as $$
#variable_conflict use_column
declare stopped bigint[]; cut report[]; told bigint[]; news new_event[]; ended final[];
begin
    with s as (
        update tasks set state = 'aborted', reason = tasks_abort.reason, lease_id = null, award_id = null, finished_at = clock()
         where run_id = run and (stage is null or stage_id = stage) and (spare_none or not always)
           and state in ('waiting', 'blocked', 'ready', 'scheduled', 'provisioning', 'quarantined')
        returning id, needed, group_name
    )
    select array_agg(id order by id), array_agg(row(id, false, actor)::final order by id) filter (where needed or group_name is not null) into stopped, ended from s;
    -- In the order in which heartbeats lock them.
    perform from tasks t join leases l on l.task_id = t.id and l.ended_at is null
      where t.run_id = run and (stage is null or t.stage_id = stage) order by l.id for no key update of l;
    cut := array(select row(l.id, l.epoch, l.agent_id, null, null, tasks_abort.reason, null, null, actor, t.run_id, t.stage_id, t.id, true, null, null)::report
                   from leases l join tasks t on t.id = l.task_id where l.task_id = any(stopped) and l.ended_at is null);
    news := steps_record(cut, true);
    perform leases_end(cut, 'aborted');
    with o as (
        update leases l set abort_at = clock(), abort_level = case when spare_none and l.abort_at is not null then 'kill' else 'abort' end,
               abort_reason = coalesce(l.abort_reason, tasks_abort.reason)
          from tasks t
         where t.run_id = run and (stage is null or t.stage_id = stage) and (spare_none or not t.always)
           and l.id = t.lease_id and (l.abort_at is null or (spare_none and l.abort_level = 'abort'))
        returning t.id
    )
    select array_agg(id) into told from o;

    perform wake('abort');
    return news || awards_abort(stopped, actor)
        || array(select row('task.aborting', false, actor, t.run_id, t.stage_id, t.id, t.epoch, null, jsonb_build_object('reason', tasks_abort.reason))::new_event
                   from tasks t where t.id = any(told) order by t.id)
        || array(select row('task.aborted', true, actor, t.run_id, t.stage_id, t.id, null, null, jsonb_build_object('reason', t.reason))::new_event
                   from tasks t where t.id = any(stopped) order by t.id)
        || tasks_settle(array(select row(t.stage_id, count(*), severity('aborted'), false, actor)::settled from tasks t where t.id = any(stopped) group by t.stage_id), ended);
end $$;

-- task_abort: one task is stopped: at once if it has not started, else by its agent.
create function otto.task_abort(task bigint, actor text, reason text default null)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare t tasks;
begin
    perform lock_run(t.run_id) from tasks t where t.id = task;
    select * into t from tasks where id = task and finished_at is null for no key update;
    if not found then perform refuse_task(task, 'abort'); end if;
    t.reason := coalesce(task_abort.reason, 'aborted by ' || actor);
    if t.state = 'running' then
        update leases set abort_at = clock(), abort_level = case when abort_at is null then 'abort' else 'kill' end, abort_reason = t.reason where id = t.lease_id;
        perform emit(array[row('task.aborting', false, actor, t.run_id, t.stage_id, t.id, t.epoch, null, jsonb_build_object('reason', t.reason))::new_event]);
        perform wake('abort');
        return next t;
    else
        perform emit(attempt_close(t, 'aborted', null, actor) || tasks_end(array[row(task, 'aborted', t.exit_code, t.reason, true, actor)::ending]));
        return query select * from tasks where id = task;
    end if;
end $$;

-- task_interrupt: scheduled, running → ready, when the agent was lost; → failed, when the task says so or has been
-- interrupted too often; → aborted, when it was being aborted. The guard repeats the reason, so a reaper that read long
-- ago judges nothing that has changed since.
create function otto.task_interrupt(lease uuid, epoch int, why text, actor text)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare l leases; t tasks;
begin
    perform lock_run(l.run_id) from leases l where l.id = lease;
    select t.* into t from leases l join tasks t on t.id = l.task_id and t.lease_id = l.id
     where l.id = lease and l.epoch = task_interrupt.epoch and lease_is(l, why)
       for no key update of t, l;
    if not found then perform refuse_lease(lease, epoch, l.agent_id, 'interrupt') from leases l where l.id = lease; return; end if;
    select * into l from leases where id = lease;
    t.reason := case why when 'unconfirmed' then concat_ws(' ', l.abort_reason, '(unconfirmed)') when 'expired' then 'agent_lost' when 'agent_gone' then 'agent_lost' when 'overdue' then 'timeout' else why end;
    return query select * from task_take(t, why, null, actor);
end $$;

-- task_release: as task_interrupt, by the holder of the lease, who hands the task back. Repeating it changes nothing.
create function otto.task_release(lease uuid, epoch int, agent bigint, reason text, log jsonb, actor text)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare l leases; t tasks;
begin
    perform lock_run(l.run_id) from leases l where l.id = lease;
    select * into l from leases where id = lease;
    if l.end_reason = 'released' and l.epoch = task_release.epoch and l.agent_id = agent then
        return query select * from tasks where id = l.task_id;
        return;
    end if;
    select * into t from task_held(lease, epoch, agent, 'release');
    t.reason := coalesce(task_release.reason, 'released');
    return query select * from task_take(t, 'released', log, actor);
end $$;

-- attempt_close ends the steps and the lease of a task's attempt, or the award, if it has one. Internal.
create function otto.attempt_close(t tasks, why text, log jsonb, actor text)
returns otto.new_event[] language plpgsql as $$
declare cut report[];
begin
    if t.lease_id is null then return awards_abort(array[t.id], actor); end if;
    cut := array[row(t.lease_id, t.epoch, null, null, null, t.reason, null, log, actor, t.run_id, t.stage_id, t.id, true, null, null)::report];
    perform leases_end(cut, why);
    return steps_record(cut, true);
end $$;

-- task_take ends the attempt of a task that its agent does not finish, and decides what follows. Internal.
create function otto.task_take(t tasks, why text, log jsonb, actor text)
returns setof tasks language plpgsql as $$
declare l leases; news new_event[]; e ending;
begin
    select * into l from leases where id = t.lease_id;
    news := attempt_close(t, case why when 'released' then 'released' when 'unconfirmed' then 'aborted' else 'interrupted' end, log, actor);
    e := row(t.id, null, null, t.reason, l.abort_at is not null, actor)::ending;
    if l.abort_at is null and why <> 'overdue' and (l.started_at is null or task_may_repeat(t)) then
        perform emit(news || tasks_again(array[e], case when l.started_at is null then 'task.revoked' else 'task.interrupted' end));
    else
        e.reason := case when l.abort_at is not null or why = 'overdue' then t.reason else 'agent_lost' end;
        e.outcome := case when l.abort_at is null then 'failed' else 'aborted' end;
        perform emit(news || tasks_end(array[e]));
    end if;
    return query select * from tasks where id = t.id;
end $$;

-- lease_is says whether a reason for taking a lease away holds now.
create function otto.lease_is(l leases, why text) returns boolean
language plpgsql stable as $$
declare c cluster;
begin
    select * into c from cluster;
    return case why
        when 'agent_gone' then exists (select from agents a where a.id = l.agent_id and a.state in ('offline', 'disabled'))
        when 'expired' then l.expires_at < clock() and l.abort_at is null
        when 'not_started' then l.started_at is null and l.start_by < clock()
        when 'overdue' then l.deadline_at < clock()
        when 'unconfirmed' then l.abort_at + c.abort_silence < clock() and l.expires_at < clock()
    end;
end $$;

-- task_may_repeat says whether a lost task goes to another agent: unless it forbids that, and only so often.
create function otto.task_may_repeat(t tasks) returns boolean
language plpgsql stable as $$
begin
    return t.interrupts < (select max_interrupts from cluster)
       and 'fail' is distinct from (select p.spec ->> 'on_lost' from runs r
             join plan_tasks p on p.plan_digest = r.plan_digest and p.stage_index = t.stage_index and p.task_index = t.index where r.id = t.run_id);
end $$;

-- task_quarantine: any state that is not final → quarantined. A task that cannot be read parks itself, and blocks none
-- behind it. A person looks, and aborts its run.
create function otto.task_quarantine(task bigint, actor text, reason text)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare t tasks;
begin
    perform lock_run(t.run_id) from tasks t where t.id = task;
    select * into t from tasks where id = task and state in ('waiting', 'blocked', 'ready', 'scheduled', 'provisioning', 'running') for no key update;
    if not found then perform refuse_task(task, 'quarantine'); end if;
    t.reason := task_quarantine.reason;
    perform emit(attempt_close(t, 'aborted', null, actor)
        || row('task.quarantined', false, actor, t.run_id, t.stage_id, t.id, t.epoch, null, jsonb_build_object('reason', task_quarantine.reason))::new_event);
    update tasks set state = 'quarantined', reason = task_quarantine.reason, lease_id = null, award_id = null where id = task;
    if t.group_name is not null then perform emit(groups_admit(array[row(t.group_project, t.group_name, actor)::concurrency])); end if;
    return query select * from tasks where id = task;
end $$;
