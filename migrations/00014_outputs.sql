-- +goose Up

-- What tasks say to later tasks, and what a run was asked for with. Everybody reads these tables, so the change gives up soon
-- where somebody reads for long: start the server again then.
set local lock_timeout = '5s';

-- task_outputs are what the last attempt of a task that said something has said. Few tasks do, so it is no column of theirs.
create table task_outputs (
    task_id  bigint primary key references tasks on delete cascade,
    epoch    int not null,  -- the attempt
    bytes    int not null check (bytes between 1 and 1 << 20),  -- as text
    outputs  jsonb not null check (jsonb_typeof(outputs) = 'object')
);

-- What a task asks of its agent beside what its spec says: that the agent understands the spec. Null: nothing.
alter table plan_tasks add requires jsonb;

-- run_facts are what a run is planned with, beside its source: both may be large, and who lists runs does not want them.
create table run_facts (
    run_id  bigint primary key references runs on delete cascade,
    event   jsonb,  -- what asked for it; null: a person, by hand
    params  jsonb   -- as they were given
);
