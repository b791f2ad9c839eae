-- +goose Up

-- What an attempt really ran with: its agent says so when the work begins. A server of the version before does not ask.
set local lock_timeout = '5s';

alter table leases add isolation smallint constraint isolation_is_a_level check (isolation between 0 and 4);  -- S0 to S4; null: not said
