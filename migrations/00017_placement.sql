-- +goose Up

-- Which agents a project's tasks may have, in which order tasks get them, and how much of an agent a task reserves. Everybody reads
-- these tables, so the change gives up soon where somebody reads for long: start the server again then.
set local lock_timeout = '5s';

-- pools are groups of agents. A restricted one is for the projects that it lists.
create table pools (
    name        text primary key check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'),
    restricted  boolean not null default false,
    created_at  timestamptz not null,
    vtime       double precision not null default 0  -- where the pool stands on the scale of pool_shares
) with (fillfactor = 70);
insert into pools (name, created_at) values ('default', now());

-- pool_projects are the projects that may use a restricted pool.
create table pool_projects (
    pool        text not null references pools on delete cascade,
    project_id  bigint not null references projects on delete cascade,
    primary key (pool, project_id)
);
create index pool_projects_project on pool_projects (project_id);

-- pool_shares is how much of a pool a project has had while others waited for it, too: tasks, divided by its weight.
create table pool_shares (
    pool        text not null references pools on delete cascade,
    project_id  bigint not null references projects on delete cascade,
    vtime       double precision not null,
    primary key (pool, project_id)
) with (fillfactor = 70);
create index pool_shares_project on pool_shares (project_id);

alter table projects add weight int not null default 1 check (weight between 1 and 1000);
alter table runs add priority int not null default 0 check (priority between -100 and 100);
alter table agents add pool text not null default 'default';
alter table tokens add pool text;  -- of an enrolment token: the pool of the agent that uses it

-- project_id is the run's. Null: the task was made by functions of the version before, and is not over or is from before.
alter table tasks add project_id bigint, add pool text not null default 'default';
update tasks t set project_id = r.project_id from runs r where r.id = t.run_id and r.finished_at is null and t.finished_at is null;

alter table leases
    add cores   numeric,  -- what the attempt reserves of its agent; null: nothing
    add memory  bigint,   -- in bytes
    add warm    boolean;  -- the agent had worked for the project before, and was preferred for that
