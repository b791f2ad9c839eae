-- +goose Up

-- The power over agents' machines that containers of a project may ask for, see otto.project_grant. Everybody reads this table, so
-- the change gives up soon where somebody reads for long: start the server again then.
set local lock_timeout = '5s';

alter table projects add grants text[] not null default '{}';
