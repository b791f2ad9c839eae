-- +goose NO TRANSACTION
-- +goose Up

-- What retention looks for, and what the foreign keys look for when it deletes. The tables may be large, and work goes on
-- meanwhile: a million runs take some seconds. An attempt that was broken off leaves an index that is not valid.
drop index concurrently if exists runs_finished;
create index concurrently runs_finished on runs (finished_at) where finished_at is not null;

drop index concurrently if exists runs_plan;
create index concurrently runs_plan on runs (plan_digest) where plan_digest is not null;

drop index concurrently if exists runs_source;
create index concurrently runs_source on runs (source_digest) where source_digest is not null;

drop index concurrently if exists plans_idle;
create index concurrently plans_idle on plans (idle_at) where idle_at is not null;

drop index concurrently if exists sources_idle;
create index concurrently sources_idle on sources (idle_at) where idle_at is not null;

drop index concurrently if exists leases_log_kept;
create index concurrently leases_log_kept on leases (ended_at) where log_object is not null and log_expired_at is null;

drop index concurrently if exists events_default_at;
create index concurrently events_default_at on events_default (at);
