-- name: OrchestratorEnrol :one
-- OrchestratorEnrol uses an enrolment token up and makes an orchestrator with a credential of its own.
select * from otto.orchestrator_enrol(@enrol::bigint, @hash::bytea, @name::text, @version::text, @templates::jsonb, @actor::text);

-- name: OrchestratorHello :one
-- OrchestratorHello says that the orchestrator has started, and what it can start.
select * from otto.orchestrator_hello(@orchestrator::bigint, @name::text, @version::text, @templates::jsonb, @actor::text);

-- name: OrchestratorBeat :one
-- OrchestratorBeat says that the orchestrator lives.
select * from otto.orchestrator_beat(@orchestrator::bigint, @actor::text);

-- name: OrchestratorBye :one
-- OrchestratorBye says that the orchestrator ends.
select * from otto.orchestrator_bye(@orchestrator::bigint, @actor::text);

-- name: OrchestratorDisable :one
-- OrchestratorDisable takes an orchestrator out of service, or lets it back.
select * from otto.orchestrator_disable(@orchestrator::bigint, @disabled::boolean, @actor::text);

-- name: OrchestratorNews :one
-- OrchestratorNews reads everything that an orchestrator acts upon, and in how many milliseconds something is due.
select n.news::jsonb as news, (n.news ->> 'window_ms')::bigint as window_ms,
       coalesce(greatest(extract(epoch from n.next_at - otto.clock()) * 1000, 0), 3600000)::bigint as next_ms from otto.orchestrator_news(@orchestrator::bigint) n;

-- name: OrchestratorList :many
-- OrchestratorList pages orchestrators by number, with what they offer and how many agents and awards each has.
select sqlc.embed(o),
       (select count(*) from agents a where a.orchestrator_id = o.id and a.state in ('online', 'draining'))::int as agents,
       (select count(*) from awards w where w.orchestrator_id = o.id and w.ended_at is null)::int as awards,
       (select coalesce(jsonb_agg(jsonb_build_object('name', p.name, 'offers', p.offers, 'price', p.price, 'start_ms', p.start_ms, 'instances', p.instances) order by p.name), '[]')
          from templates p where p.orchestrator_id = o.id and p.offered)::jsonb as templates
  from orchestrators o where o.id > @after::bigint and (@which::bigint = 0 or o.id = @which::bigint) order by o.id limit @at_most::int;

-- name: EnrolmentCreate :one
-- EnrolmentCreate makes a token with which an agent of a template enrols.
select * from otto.enrolment_create(@orchestrator::bigint, @template::text, @hash::bytea, @actor::text);

-- name: AuctionOpen :many
-- AuctionOpen opens auctions for the tasks that nobody serves.
select * from otto.auction_open(@actor::text);

-- name: AuctionClose :one
-- AuctionClose ends an auction whose window is over.
select * from otto.auction_close(@auction::bigint, @actor::text);

-- name: AuctionsDue :many
-- AuctionsDue lists the auctions to close and the awards to take away.
select d.auction as auction, d.award as award from otto.auctions_due(@at_most::int) d;

-- name: BidPlace :one
-- BidPlace offers to start an agent for a task.
select * from otto.bid_place(@auction::bigint, @task::bigint, @orchestrator::bigint, @template::text, sqlc.narg('price')::numeric, sqlc.narg('estimate_ms')::bigint,
                             sqlc.narg('within_ms')::bigint, @actor::text);

-- name: AwardTake :one
-- AwardTake makes a token for the agent that is started for an award.
select * from otto.award_take(@award::uuid, @orchestrator::bigint, @hash::bytea, @actor::text);

-- name: AwardReturn :one
-- AwardReturn gives an award back.
select * from otto.award_return(@award::uuid, @orchestrator::bigint, sqlc.narg('reason')::text, @actor::text);

-- name: AwardExpire :one
-- AwardExpire takes an award away that is late, or whose orchestrator is out of service.
select * from otto.award_expire(@award::uuid, @actor::text);

-- name: AuctionList :many
-- AuctionList pages what was auctioned, newest first: of one run, one task, or all (0). Bids and awards are JSON, as the API answers them.
select a.id, a.run_id, a.state, a.opened_at, a.closes_at, a.closed_at, s.name as stage, t.id as task_id, t.name as task, l.round, coalesce(l.outcome, '')::text as outcome,
       (select coalesce(jsonb_agg(jsonb_build_object('bid', b.id, 'orchestrator', o.name, 'template', p.name, 'state', b.state, 'price', b.price, 'estimate_ms', b.estimate_ms,
                    'estimated_by', b.estimated_by, 'start_ms', b.start_ms, 'within_ms', b.within_ms, 'cost', b.cost, 'placed_at', b.placed_at) order by b.cost, b.placed_at, b.id), '[]')
          from bids b join orchestrators o on o.id = b.orchestrator_id join templates p on p.id = b.template_id where b.auction_id = a.id and b.task_id = t.id)::jsonb as bids,
       (select coalesce(jsonb_agg(jsonb_build_object('award', w.id, 'bid', w.bid_id, 'orchestrator', o.name, 'template', p.name, 'because', w.because, 'awarded_at', w.awarded_at,
                    'start_by', w.start_by, 'agent', w.agent_id, 'ended_at', w.ended_at, 'end_reason', w.end_reason) order by w.awarded_at, w.ended_at nulls last), '[]')
          from awards w join orchestrators o on o.id = w.orchestrator_id join templates p on p.id = w.template_id where w.auction_id = a.id and w.task_id = t.id)::jsonb as awards
  from auctions a join auction_tasks l on l.auction_id = a.id join tasks t on t.id = l.task_id join stages s on s.id = a.stage_id
 where (@run::bigint = 0 or a.run_id = @run::bigint) and (@task::bigint = 0 or l.task_id = @task::bigint)
   and (a.id, t.id) < (case when @before::bigint = 0 then 9223372036854775807 else @before::bigint end, case when @before::bigint = 0 then 0 else @before_task::bigint end)
 order by a.id desc, t.id desc limit @at_most::int;

-- name: TaskStarve :one
-- TaskStarve gives a task up that nobody could run for the queue time-out.
select * from otto.task_starve(@task::bigint, @actor::text);

-- name: TasksStarved :many
-- TasksStarved lists such tasks.
select t::bigint as task from otto.tasks_starved(@at_most::int) t;
