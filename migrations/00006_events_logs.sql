-- +goose Up

-- events are the history: one row per transition. Ids are not commit order, so readers page by (tx, id) below the
-- snapshot's horizon; then no event is ever skipped. Partitions are made by otto.partition_maintain.
create table events (
    id        bigint generated always as identity,
    -- At least the writer's own transaction, so what is not committed lies above every reader's horizon; and not below any
    -- transaction whose commit the writer has seen, so what follows from it comes after it.
    tx        bigint not null default greatest(pg_current_xact_id()::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1),
    at        timestamptz not null,
    kind      text not null,
    run_id    bigint,
    stage_id  bigint,
    task_id   bigint,
    epoch     int,
    step      int,
    actor     text not null,
    data      jsonb not null default '{}',
    primary key (tx, id, at)
) partition by range (at);
create index events_run on events (run_id, tx, id) where run_id is not null;
create table events_default partition of events default;

-- log_chunks hold logs while they are written; compaction moves them to the object store.
create table log_chunks (
    lease_id    uuid not null,
    seq         int not null,
    at          timestamptz not null,
    first_byte  bigint not null,
    bytes       int not null,
    first_line  bigint not null,
    lines       int not null,
    segments    jsonb not null,
    data        bytea not null,  -- one zstd frame
    primary key (lease_id, seq, at)
) partition by range (at);
alter table log_chunks alter column data set storage external;  -- compressed already
create table log_chunks_default partition of log_chunks default;
alter table log_chunks_default alter column data set storage external;
