-- +goose Up

-- cluster holds the settings that transitions need. One row.
create table cluster (
    id              boolean primary key default true check (id),
    lease_ttl       interval not null default '30 seconds'  check (lease_ttl between '1 second' and '1 hour'),
    heartbeat       interval not null default '10 seconds'  check (heartbeat between '100 milliseconds' and '10 minutes'),
    start_within    interval not null default '60 seconds',  -- granted lease to first report
    grace           interval not null default '10 seconds',  -- SIGTERM to SIGKILL
    abort_silence   interval not null default '60 seconds',  -- abort order to aborting without the agent's word
    log_silence     interval not null default '10 minutes',  -- finished task to giving up on the rest of its log
    max_interrupts  int not null default 3 check (max_interrupts >= 0),
    -- No lease is judged expired before this moment: after an outage of the servers agents get one full lease time.
    judge_from      timestamptz not null default now(),
    constraint lease_outlives_heartbeats check (lease_ttl >= 2 * heartbeat)
);
insert into cluster default values;

-- servers are the API nodes. Their heartbeats tell an outage of the servers from a loss of agents.
create table servers (
    name        text primary key,
    started_at  timestamptz not null,
    seen_at     timestamptz not null
) with (fillfactor = 70);

-- agents run tasks. They are never deleted: attempts refer to them.
create table agents (
    id           bigint generated always as identity primary key,
    name         text not null check (length(name) between 1 and 100),
    state        text not null default 'online' check (state in ('online', 'draining', 'offline', 'disabled')),
    version      text not null default '',
    capacity     int not null default 1 check (capacity between 1 and 1024),
    offers       jsonb not null default '{}' check (jsonb_typeof(offers) = 'object'),
    enrolled_at  timestamptz not null,
    seen_at      timestamptz not null
) with (fillfactor = 70);
create index agents_alive on agents (id) where state in ('online', 'draining');

-- tokens are credentials; only the SHA-256 of the secret is stored.
create table tokens (
    id            bigint generated always as identity primary key,
    hash          bytea not null unique check (length(hash) = 32),
    kind          text not null check (kind in ('user', 'enrol', 'agent')),
    role          text not null check (role in ('reader', 'writer', 'admin', 'enrol', 'agent')),
    name          text not null check (length(name) between 1 and 100),
    agent_id      bigint references agents on delete restrict,
    created_by    text not null,
    created_at    timestamptz not null,
    expires_at    timestamptz,
    revoked_at    timestamptz,
    used_at       timestamptz,  -- an enrolment token is used once
    last_used_at  timestamptz,
    constraint agent_token_names_its_agent check ((agent_id is not null) = (kind = 'agent'))
);
create index tokens_agent on tokens (agent_id) where agent_id is not null;

-- idempotency keeps the answers of mutations that carried a key, for a day.
create table idempotency (
    principal    text not null,
    key          text not null check (length(key) between 1 and 200),
    request      bytea not null,  -- SHA-256 of method, path and body
    status       int,
    answer       bytea,
    created_at   timestamptz not null,
    primary key (principal, key)
);
create index idempotency_age on idempotency (created_at);
