-- +goose NO TRANSACTION
-- +goose Up

-- Who is at work in a concurrency group, who waits for it, and what is blocked at all. An attempt that was broken off leaves an
-- index that is not valid.
drop index concurrently if exists tasks_group_active;
create index concurrently tasks_group_active on tasks (group_project, group_name)
    where group_name is not null and state in ('ready', 'scheduled', 'provisioning', 'running');

drop index concurrently if exists tasks_group_blocked;
create index concurrently tasks_group_blocked on tasks (group_project, group_name, run_id, id)
    where group_name is not null and state = 'blocked';

drop index concurrently if exists tasks_blocked;
create index concurrently tasks_blocked on tasks (id) where state = 'blocked';
