-- +goose Up

-- How long what is over is kept; null is for ever. Everything that reads these tables queues up behind this, so it gives
-- up soon where somebody reads for long (a dump does): start the server again then.
set local lock_timeout = '5s';
alter table cluster
    add keep_runs    interval default '90 days'   check (keep_runs >= '1 day'),    -- from the end of a run
    add keep_logs    interval                     check (keep_logs >= '1 day'),    -- from the end of an attempt; null: as long as its run
    add keep_events  interval default '365 days'  check (keep_events >= '1 day'),
    -- No run is without its history.
    add constraint events_outlive_runs check (coalesce(keep_events >= keep_runs, keep_events is null));
-- Who has been at work with a version that deletes nothing is not surprised by one that does.
update cluster set keep_runs = null, keep_events = null where exists (select from runs);

-- idle_at is since when no run refers to a source or plan, as far as has been looked; null: one did when that was last
-- looked at. The default is for rows that are here already, and for the previous version's functions, which do not know it.
alter table sources add idle_at timestamptz default now();
alter table plans add idle_at timestamptz default now();

-- The object is gone, or soon will be; log_object still says which it was.
alter table leases add log_expired_at timestamptz;

-- objects_gone are objects that nothing in these tables needs any more, or that may turn out so: an upload that has begun
-- stands here until it is noted as a source. A job deletes them from the store, and then from here.
create table objects_gone (
    object  text primary key,  -- the key of a log, or the digest of a source
    at      timestamptz not null  -- not before
);
create index objects_gone_due on objects_gone (at);
