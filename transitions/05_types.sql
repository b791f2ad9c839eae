-- What transitions hand to each other: sets of things to do, so that one statement serves all that is to be done at once.

-- new_event is an event to be. Where ends is true, the kind names an outcome, and the event completed follows it.
create type otto.new_event as (kind text, ends boolean, actor text, run_id bigint, stage_id bigint, task_id bigint, epoch int, step int, data jsonb);

-- act is something to be done to an entity, and who is behind it: one call may serve many actors.
create type otto.act as (id bigint, actor text);

-- run_request is what somebody asks a run to be.
create type otto.run_request as (project text, source text, ottofile text, plan text, rerun_of bigint, actor text, event jsonb, params jsonb, priority int,
                              repository text, ref text, commit text);

-- crossing is where a run stands between two stages: whether it goes on, and the next stage that has a task to run, if any.
create type otto.crossing as (run_id bigint, go boolean, stage_id bigint, index int, actor text);

-- settled are tasks of a stage that became final: how many, their worst effective outcome, and whether any was forgiven.
create type otto.settled as (stage_id bigint, tasks int, worst smallint, warned boolean, actor text);

-- ending is how a task ends. It may be tried again where the end was not ordered.
create type otto.ending as (task_id bigint, outcome text, exit_code int, reason text, ordered boolean, actor text);

-- report is what the holder of a lease says, completed with what the lease is of.
create type otto.report as (
    lease uuid, epoch int, agent bigint, outcome text, exit_code int, reason text, steps jsonb, log jsonb, actor text,
    run_id bigint, stage_id bigint, task_id bigint, ordered boolean,  -- ordered: its end was ordered
    outputs jsonb, isolation smallint);

-- final is a task that became final and that others need, or that was in a concurrency group. Fulfilled says that who needs it may run.
create type otto.final as (task_id bigint, fulfilled boolean, actor text);

-- concurrency is a concurrency group of a project.
create type otto.concurrency as (project bigint, name text, actor text);

-- admission is what came of letting tasks into their groups, and the groups in which that was not possible now.
create type otto.admission as (news otto.new_event[], late otto.concurrency[]);

-- queue is tasks of a project that are ready and require the same, in one pool: how many of them are to be handed out.
create type otto.queue as (project bigint, kind bigint, requires jsonb, tasks int);

-- room is what an agent has left; null: it does not say how much it has.
create type otto.room as (agent bigint, slots int, cores numeric, memory numeric);

-- pick is a task that is to be handed out.
create type otto.pick as (task bigint, project bigint, requires jsonb);

-- place is a task and the agent that gets it. Warm: the agent has worked for its project before.
create type otto.place as (task bigint, agent bigint, warm boolean);
