-- +goose Up

-- Orchestrators start agents on demand; auctions say which of them starts one for a task. Everybody reads some of the tables that
-- change here, so the change gives up soon where somebody reads for long: start the server again then.
set local lock_timeout = '5s';

alter table cluster
    add auction_window  interval not null default '0'          check (auction_window between '0' and '1 hour'),  -- 0: there are no auctions
    add award_within    interval not null default '60 seconds' check (award_within between '1 second' and '1 day'),  -- award to the agent's hello
    add queue_timeout   interval not null default '24 hours'   check (queue_timeout >= '1 second');  -- ready to giving up, where nobody could ever run it

-- orchestrators are programs that start agents. They are never deleted: awards refer to them.
create table orchestrators (
    id               bigint generated always as identity primary key,
    name             text not null check (length(name) between 1 and 100),
    state            text not null default 'online' check (state in ('online', 'offline', 'disabled')),
    version          text not null default '',
    enrolled_at      timestamptz not null,
    seen_at          timestamptz not null,
    suspended_until  timestamptz  -- it could not start what it had won; until then it cannot bid
) with (fillfactor = 70);

-- templates are what an orchestrator can start. One that it offers no more is kept: bids refer to it.
create table templates (
    id               bigint generated always as identity primary key,
    orchestrator_id  bigint not null references orchestrators on delete restrict,
    name             text not null check (length(name) between 1 and 100),
    offers           jsonb not null check (jsonb_typeof(offers) = 'object'),
    price            numeric(16, 6) not null check (price >= 0),       -- per hour
    start_ms         bigint not null check (start_ms >= 0),            -- order to hello, by its own word
    instances        int not null check (instances between 0 and 100000),  -- the most at once
    offered          boolean not null default true,
    unique (orchestrator_id, name)
);

-- auctions are calls for bids: one for the tasks of a stage that nobody could take at that moment.
create table auctions (
    id         bigint generated always as identity primary key,
    run_id     bigint not null references runs on delete cascade,
    stage_id   bigint not null,
    state      text not null default 'open' check (state in ('open', 'completed', 'failed', 'void')),
    opened_at  timestamptz not null,
    closes_at  timestamptz not null,
    closed_at  timestamptz,
    constraint closed_iff_over check ((closed_at is not null) = (state <> 'open'))
);
create index auctions_open on auctions (closes_at) where state = 'open';
create index auctions_run on auctions (run_id, id);

-- auction_tasks are what is auctioned.
create table auction_tasks (
    auction_id  bigint not null references auctions on delete cascade,
    task_id     bigint not null references tasks on delete cascade,
    round       int not null check (round > 0),  -- counts the auctions of this task
    outcome     text check (outcome in ('awarded', 'no_bids', 'gone')),
    again_at    timestamptz,  -- no new round before
    primary key (auction_id, task_id)
);
create unique index auction_tasks_open on auction_tasks (task_id) where outcome is null;
create index auction_tasks_task on auction_tasks (task_id, auction_id);

-- bids are offers to start an agent from a template for a task.
create table bids (
    id               bigint generated always as identity primary key,
    auction_id       bigint not null,
    task_id          bigint not null,
    orchestrator_id  bigint not null references orchestrators on delete restrict,
    template_id      bigint not null references templates on delete restrict,
    state            text not null default 'placed' check (state in ('placed', 'won', 'revoked')),
    price            numeric(16, 6) not null check (price >= 0),  -- per hour
    estimate_ms      bigint not null check (estimate_ms >= 0),    -- how long the task will take
    estimated_by     text not null check (estimated_by in ('bidder', 'history', 'default')),
    start_ms         bigint not null check (start_ms >= 0),       -- the template's
    within_ms        bigint not null check (within_ms between 1 and 86400000),  -- how long the start may take if it wins
    cost             numeric(24, 6) not null check (cost >= 0),   -- price × estimate
    placed_at        timestamptz not null,
    unique (auction_id, task_id, template_id),
    foreign key (auction_id, task_id) references auction_tasks on delete cascade
);
create index bids_task on bids (task_id);

-- awards are bids that have won: the right to start an agent for a task, until a deadline. One that is over keeps its reason.
create table awards (
    id               uuid primary key,
    bid_id           bigint not null references bids on delete cascade,
    auction_id       bigint not null references auctions on delete cascade,
    task_id          bigint not null references tasks on delete cascade,
    run_id           bigint not null,
    orchestrator_id  bigint not null references orchestrators on delete restrict,
    template_id      bigint not null references templates on delete restrict,
    project_id       bigint not null,  -- with the name: whose run times tell how long the next will take
    task_name        text not null,
    because          text not null,    -- why this bid, in a sentence
    awarded_at       timestamptz not null,
    start_by         timestamptz not null,
    taken_at         timestamptz,      -- the orchestrator asked for a token
    agent_id         bigint,           -- who enrolled with it
    lease_id         uuid,             -- what the agent was granted
    ended_at         timestamptz,
    end_reason       text check (end_reason in ('started', 'late', 'returned', 'lost', 'unfit', 'aborted')),
    constraint ended_has_reason check ((ended_at is null) = (end_reason is null)),
    constraint started_has_lease check ((lease_id is not null) = (end_reason is not distinct from 'started'))
);
create unique index awards_living on awards (task_id) where ended_at is null;
create index awards_task on awards (task_id);
create index awards_auction on awards (auction_id);
create index awards_bid on awards (bid_id);
create index awards_agent on awards (agent_id) where ended_at is null and agent_id is not null;
create index awards_orchestrator on awards (orchestrator_id, ended_at);
create index awards_history on awards (template_id, project_id, task_name, awarded_at) where end_reason = 'started';

-- An orchestrator has a credential, enrols with a token as agents do, and makes tokens with which its own agents enrol.
alter table tokens
    drop constraint tokens_kind_check,
    drop constraint tokens_role_check,
    add constraint tokens_kind_check check (kind in ('user', 'enrol', 'agent', 'orchestrator')),
    add constraint tokens_role_check check (role in ('reader', 'writer', 'admin', 'enrol', 'agent', 'enrol-orchestrator', 'orchestrator')),
    add orchestrator_id bigint references orchestrators on delete restrict,  -- whose it is, or whose agent may use it
    add template_id     bigint references templates on delete restrict,
    add award_id        uuid;  -- no key: awards go with their runs, tokens stay
create index tokens_orchestrator on tokens (orchestrator_id) where orchestrator_id is not null;
create index tokens_award on tokens (award_id) where award_id is not null;

alter table agents
    add orchestrator_id bigint references orchestrators on delete restrict,  -- who has started it
    add template_id     bigint references templates on delete restrict;
create index agents_orchestrator on agents (orchestrator_id) where orchestrator_id is not null;

-- A task that is provisioning has an award, and no lease yet. No task was ever in that state before.
alter table tasks
    add award_id uuid,
    drop constraint leased_iff_active,
    add constraint leased_iff_active check ((lease_id is not null) = (state in ('scheduled', 'running'))) not valid,
    add constraint awarded_iff_provisioning check ((award_id is not null) = (state = 'provisioning')) not valid;
