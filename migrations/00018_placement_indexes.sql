-- +goose NO TRANSACTION
-- +goose Up

-- tasks_queue holds the tasks that are ready by queue: pool, project and what they require; and in each by rank. The rank is the moment
-- at which a task became ready, moved forward by a minute for each point of its priority: see task_rank. An attempt that was broken off
-- leaves an index that is not valid.
drop index concurrently if exists tasks_queue;
create index concurrently tasks_queue on tasks
    (pool, project_id, jsonb_hash_extended(requires, 0), ((ready_at at time zone 'UTC') - priority * interval '1 minute'), id) where state = 'ready';
drop index concurrently if exists tasks_ready;

-- Tasks that were made by the functions of the version before do not know their project; the reconciler looks for them.
drop index concurrently if exists tasks_orphan;
create index concurrently tasks_orphan on tasks (id) where project_id is null and finished_at is null;
