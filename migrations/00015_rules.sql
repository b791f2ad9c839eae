-- +goose Up

-- What plans of version 2 ask of the state machine: what does not run, what waits for what, what is decided late, and what must
-- not be at work together. All of it may be absent, and then costs nothing: such a plan has no rules, and these columns are null.
-- A server of the version before goes on with the functions of this one; until they are there, its own know nothing of this, and need
-- not. Everybody reads these tables, so the change gives up soon where somebody reads for long: start the server again then.
set local lock_timeout = '5s';

alter table plans add rules jsonb;       -- {skips, on_failure, tasks}: why no run of it starts, which stages run on failure, whether tasks have rules
alter table plan_tasks add rules jsonb;  -- {omitted, needs, unknown, needed, later, concurrency}, by plan_store

alter table stages
    add on_failure  boolean not null default false,  -- runs only if the run has failed before it
    add reached     boolean;  -- whether all stages before it are final; null: if it runs, because it began when they were

alter table tasks
    add needs_left     int,      -- of the tasks that it needs, those that are not final; null: it waits for the stages before its own
    add needed         boolean,  -- others need it
    add undecided      boolean,  -- it has conditions or variables that are decided when it would start, and they have not been
    add decided        jsonb,    -- what was decided, by the place in its spec
    add group_project  bigint,   -- its concurrency group is this project's
    add group_name     text,
    add group_limit    int,
    add on_conflict    text,
    add constraint group_is_whole check (num_nulls(group_project, group_name, group_limit, on_conflict) in (0, 4)) not valid,
    add constraint on_conflict_known check (on_conflict in ('wait', 'skip', 'abort_older')) not valid,
    add constraint needs_are_counted check (needs_left >= 0) not valid;

-- task_edges say which task needs which, for the tasks that have needs. They go with their run.
create table task_edges (
    run_id   bigint not null references runs on delete cascade,
    need_id  bigint not null,
    task_id  bigint not null,
    primary key (run_id, need_id, task_id)
);
create index task_edges_task on task_edges (task_id);
