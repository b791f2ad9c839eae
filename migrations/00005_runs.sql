-- +goose Up

-- projects bind a repository to its Ottofile and settings.
create table projects (
    id          bigint generated always as identity primary key,
    name        text not null unique check (name ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$'),
    created_at  timestamptz not null
);

-- sources are uploaded bundles, named by their content; the bytes are in the object store.
create table sources (
    digest      text primary key check (digest ~ '^sha256:[0-9a-f]{64}$'),
    bytes       bigint not null check (bytes >= 0),
    created_by  text not null,
    created_at  timestamptz not null
);

-- plans are immutable. The body is json, not jsonb: its text is kept byte for byte, because the digest is of it.
create table plans (
    digest      text primary key check (digest ~ '^sha256:[0-9a-f]{64}$'),
    name        text not null default '',
    body        json not null,
    created_at  timestamptz not null
);

-- plan_tasks are the tasks of a plan, so that handing out one task does not read the whole plan.
create table plan_tasks (
    plan_digest  text not null references plans on delete cascade,
    stage_index  int not null,
    task_index   int not null,
    spec         json not null,
    primary key (plan_digest, stage_index, task_index)
);

-- runs are executions of a plan.
create table runs (
    id             bigint generated always as identity primary key,
    uuid           uuid not null unique default gen_random_uuid(),
    project_id     bigint not null references projects on delete restrict,
    state          text not null default 'pending'
                   check (state in ('pending', 'running', 'blocked', 'aborting', 'succeeded', 'unstable', 'failed', 'aborted', 'skipped')),
    reason         text,
    trust          text not null default 'trusted' check (trust in ('untrusted', 'trusted', 'protected')),
    source_digest  text references sources on delete restrict,
    ottofile       text,
    plan_digest    text references plans on delete restrict,
    diagnostics    jsonb,
    rerun_of       bigint references runs on delete set null,
    created_by     text not null,
    severity       smallint not null default 0 check (severity between 0 and 4),  -- worst effective status of the final stages
    warnings       boolean not null default false,
    abort_reason   text,
    created_at     timestamptz not null,
    started_at     timestamptz,
    finished_at    timestamptz,
    constraint source_or_plan check (source_digest is not null or plan_digest is not null),
    constraint finished_iff_final check ((finished_at is not null) = (state in ('succeeded', 'unstable', 'failed', 'aborted', 'skipped')))
) with (fillfactor = 80);
create index runs_live on runs (id) where finished_at is null;
create index runs_project on runs (project_id, id);
create index runs_state on runs (state, id);
create index runs_rerun_of on runs (rerun_of) where rerun_of is not null;

-- stages are the ordered groups of a run's tasks.
create table stages (
    id           bigint generated always as identity primary key,
    run_id       bigint not null references runs on delete cascade,
    index        int not null,
    name         text not null,
    mode         text not null check (mode in ('linear', 'parallel', 'fanout')),
    always       boolean not null,
    state        text not null default 'waiting'
                 check (state in ('waiting', 'running', 'succeeded', 'unstable', 'failed', 'aborted', 'skipped')),
    severity     smallint not null default 0 check (severity between 0 and 4),
    warnings     boolean not null default false,
    tasks_left   int not null check (tasks_left >= 0),  -- tasks that are not final
    started_at   timestamptz,
    finished_at  timestamptz,
    unique (run_id, index),
    constraint finished_iff_final check ((finished_at is not null) = (state not in ('waiting', 'running'))),
    constraint final_has_no_tasks_left check (state in ('waiting', 'running') or tasks_left = 0)
) with (fillfactor = 80);
create index stages_live on stages (run_id, index) where state in ('waiting', 'running');

-- tasks are the units given to one agent.
create table tasks (
    id             bigint generated always as identity primary key,
    run_id         bigint not null,
    stage_id       bigint not null,
    stage_index    int not null,
    index          int not null,
    name           text not null,
    state          text not null default 'waiting'
                   check (state in ('waiting', 'blocked', 'ready', 'scheduled', 'provisioning', 'running',
                                    'succeeded', 'unstable', 'failed', 'aborted', 'skipped', 'quarantined')),
    reason         text,
    requires       jsonb not null default '{}',
    priority       int not null default 0,
    always         boolean not null,  -- its own or its stage's
    allow_failure  boolean not null,
    epoch          int not null default 0,  -- number of the current attempt
    retries        int not null default 0,  -- attempts that followed a failure
    interrupts     int not null default 0,
    lease_id       uuid,
    exit_code      int,
    ready_at       timestamptz,
    started_at     timestamptz,
    finished_at    timestamptz,
    unique (run_id, stage_index, index),
    foreign key (run_id, stage_index) references stages (run_id, index) on delete cascade,
    constraint leased_iff_active check ((lease_id is not null) = (state in ('scheduled', 'provisioning', 'running'))),
    constraint finished_iff_final check ((finished_at is not null) = (state in ('succeeded', 'unstable', 'failed', 'aborted', 'skipped')))
) with (fillfactor = 80);
create index tasks_ready on tasks (priority desc, ready_at, id) where state = 'ready';

-- leases are the attempts of tasks. The random id is the fencing token. Heartbeats rewrite the active ones, so the
-- row is narrow and no index has a column that they change.
create table leases (
    id            uuid primary key,
    task_id       bigint not null references tasks on delete cascade,
    run_id        bigint not null,  -- the task's; no key of its own, which would lock the run at each grant
    agent_id      bigint not null,  -- agents are never deleted; a key would lock the agent's row at each grant
    epoch         int not null check (epoch > 0),
    granted_at    timestamptz not null,
    start_by      timestamptz not null,
    expires_at    timestamptz not null,
    started_at    timestamptz,
    deadline_at   timestamptz,  -- the task's timeout and some grace: later than this the agent is not trusted to end it
    abort_at      timestamptz,
    abort_level   text check (abort_level in ('abort', 'kill')),
    abort_reason  text,
    ended_at      timestamptz,
    end_reason    text check (end_reason in ('finished', 'interrupted', 'aborted', 'released')),
    exit_code     int,
    log_chunks    int not null default 0,     -- received
    log_bytes     bigint not null default 0,  -- received, raw
    log_lines     bigint not null default 0,  -- line ends received
    log_want      int,                        -- chunks that there are, by the agent's word, once it knows
    log_total     bigint,                     -- raw bytes in them, likewise
    log_sha256    text,
    log_done_at   timestamptz,                -- nothing more will come
    log_object    text,                       -- key in the object store after compaction
    log_index     bigint,                     -- where in the object the index begins
    unique (task_id, epoch),
    constraint ended_has_reason check ((ended_at is null) = (end_reason is null)),
    constraint abort_has_level check ((abort_at is null) = (abort_level is null))
) with (fillfactor = 70);
create index leases_active on leases (agent_id) where ended_at is null;
create index leases_log_open on leases (id) where log_object is null and ended_at is not null and (log_chunks > 0 or log_done_at is null);

-- steps of an attempt.
create table steps (
    task_id        bigint not null references tasks on delete cascade,
    epoch          int not null,
    index          int not null,
    name           text not null,
    allow_failure  boolean not null,
    state          text not null default 'waiting'
                   check (state in ('waiting', 'running', 'succeeded', 'unstable', 'failed', 'aborted', 'skipped')),
    reason         text,
    exit_code      int,
    duration_ms    bigint,
    started_at     timestamptz,
    finished_at    timestamptz,
    primary key (task_id, epoch, index),
    constraint finished_iff_final check ((finished_at is not null) = (state not in ('waiting', 'running')))
) with (fillfactor = 80);
