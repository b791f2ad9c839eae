-- The views of an operator for what orchestrators do.

create view otto_api.orchestrators as
select o.id as orchestrator, o.name, o.state, o.version, o.suspended_until, o.seen_at, otto.clock() - o.seen_at as silent,
       (select count(*) from agents a where a.orchestrator_id = o.id and a.state in ('online', 'draining')) as agents,
       (select count(*) from awards w where w.orchestrator_id = o.id and w.ended_at is null) as awards
  from orchestrators o;

create view otto_api.templates as
select o.name as orchestrator, p.name as template, p.offers, p.price, p.start_ms, p.instances, otto.template_room(p.id) as room
  from templates p join orchestrators o on o.id = p.orchestrator_id where p.offered;

create view otto_api.auctions as
select a.id as auction, a.run_id as run, s.name as stage, t.id as task, t.name, a.state, l.round, l.outcome, a.opened_at, a.closes_at, a.closed_at,
       (select count(*) from bids b where b.auction_id = a.id and b.task_id = t.id) as bids, o.name as winner, b.cost, w.because, w.start_by, w.end_reason as ended
  from auctions a join stages s on s.id = a.stage_id join auction_tasks l on l.auction_id = a.id join tasks t on t.id = l.task_id
  left join lateral (select x.* from awards x where x.auction_id = a.id and x.task_id = t.id order by x.awarded_at desc, x.ended_at desc nulls first limit 1) w on true
  left join bids b on b.id = w.bid_id left join orchestrators o on o.id = w.orchestrator_id;

create view otto_api.bids as
select b.id as bid, b.auction_id as auction, b.task_id as task, o.name as orchestrator, p.name as template, b.state, b.price, b.estimate_ms, b.estimated_by,
       b.start_ms, b.within_ms, b.cost, b.placed_at
  from bids b join orchestrators o on o.id = b.orchestrator_id join templates p on p.id = b.template_id;

create view otto_api.awards as
select w.id as award, w.auction_id as auction, w.task_id as task, w.run_id as run, o.name as orchestrator, p.name as template, b.cost, w.because, w.awarded_at,
       w.start_by, w.taken_at, a.name as agent, w.ended_at, w.end_reason
  from awards w join bids b on b.id = w.bid_id join orchestrators o on o.id = w.orchestrator_id join templates p on p.id = w.template_id left join agents a on a.id = w.agent_id;
