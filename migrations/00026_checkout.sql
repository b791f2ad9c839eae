-- +goose Up

-- A run may be of a commit of a repository, which its agents check out, instead of a source that somebody has uploaded. Everybody
-- reads this table, so the change gives up soon where somebody reads for long: start the server again then.
set local lock_timeout = '5s';

alter table runs
    add repository  text,  -- its address, without credentials
    add ref         text,  -- the branch or tag that the commit was found by
    add commit_sha  text,
    add constraint checkout_is_whole check ((repository is null) = (commit_sha is null) and (ref is null or repository is not null)) not valid,
    add constraint checkout_is_instead check (repository is null or (source_digest is null and plan_digest is not null)) not valid,
    add constraint commit_is_whole check (commit_sha ~ '^([0-9a-f]{40}|[0-9a-f]{64})$') not valid;
