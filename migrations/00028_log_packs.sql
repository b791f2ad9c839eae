-- +goose Up

-- log_packs are objects in the store that hold the logs of many attempts. An object goes when none of them is needed any more.
-- Servers of the version before cannot read such a log, and say so; they show no other in its place.
create table log_packs (
    object  text primary key,
    logs    int not null check (logs > 0)  -- that are still needed
);
