-- What is decided when a task would start: by a job that evaluates, since SQL cannot.

-- task_decide: blocked → ready, or into its concurrency group; or → skipped, with the reason. What was decided is kept, by the
-- place in the task's spec; agents are handed the spec with it put in, which the API does.
create function otto.task_decide(task bigint, runs boolean, reason text, decided jsonb, actor text)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare t tasks; news new_event[];
begin
    perform lock_run(t.run_id) from tasks t where t.id = task;
    update tasks set undecided = null, decided = task_decide.decided, state = case when runs then 'waiting' else 'skipped' end,
           reason = case when not runs then task_decide.reason end, finished_at = case when not runs then clock() end
     where id = task and state = 'blocked' and undecided
    returning * into t;
    if not found then perform refuse_task(task, 'decide'); end if;

    news := array[row('task.decided', false, actor, t.run_id, t.stage_id, t.id, null, null, jsonb_build_object('runs', runs, 'fields',
                      (select jsonb_agg(k order by k) from jsonb_object_keys(coalesce(task_decide.decided, '{}')) k)))::new_event];
    if runs then
        perform emit(news || tasks_ready(array[row(task, actor)::act]));
    else
        perform emit(news || row('task.skipped', true, actor, t.run_id, t.stage_id, t.id, null, null, jsonb_build_object('reason', t.reason))::new_event
                     || tasks_settle(array[row(t.stage_id, 1, 0, false, actor)::settled], finals_of(array[row(task, actor)::act], true)));
    end if;
    return query select * from tasks where id = task;
end $$;

-- task_fail: blocked → failed. What is to be decided cannot be.
create function otto.task_fail(task bigint, reason text, actor text)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
begin
    perform lock_run(t.run_id) from tasks t where t.id = task;
    perform from tasks where id = task and state = 'blocked' and undecided;
    if not found then perform refuse_task(task, 'fail'); end if;

    perform emit(tasks_end(array[row(task, 'failed', null, 'condition: ' || task_fail.reason, false, actor)::ending]));
    return query select * from tasks where id = task;
end $$;
