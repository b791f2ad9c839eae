-- What an orchestrator is told: all of it at once, each time, so that nothing depends on what it has heard before.

-- orchestrator_news is everything that an orchestrator acts upon, as JSON, and when to look again at the latest.
create function otto.orchestrator_news(orchestrator bigint)
returns table (news jsonb, next_at timestamptz) language plpgsql stable security definer set search_path = public, otto, pg_temp as $$
begin
    return query
    select jsonb_build_object(
               'window_ms', (extract(epoch from c.auction_window) * 1000)::bigint, 'award_within_ms', (extract(epoch from c.award_within) * 1000)::bigint,
               'suspended_until', case when o.suspended_until > clock() then o.suspended_until end,
               'demand', case when c.auction_window = '0' then demand_of(orchestrator) else '[]' end,
               'auctions', auctions_of(orchestrator), 'awards', awards_of(orchestrator), 'ended', awards_ended_of(orchestrator), 'agents', agents_of(orchestrator)),
           least((select min(a.closes_at) from auctions a where a.state = 'open'), (select min(w.start_by) from awards w where w.ended_at is null),
                 case when o.suspended_until > clock() then o.suspended_until end)
      from orchestrators o, cluster c where o.id = orchestrator;
end $$;

-- lot_of is a task as an orchestrator sees it: what it requires, and which templates fit. Internal.
create function otto.lot_of(t tasks, orchestrator bigint) returns jsonb language plpgsql stable as $$
begin
    return (select jsonb_build_object('task', t.id, 'run', t.run_id, 'project', p.name, 'stage', s.name, 'name', t.name, 'requires', t.requires - 'otto.protocol', 'ready_at', t.ready_at,
                'templates', (select coalesce(jsonb_agg(v.name order by v.price, v.name), '[]') from templates_living(orchestrator) v where fits(t.requires, v.offers)))
              from runs r join projects p on p.id = r.project_id join stages s on s.id = t.stage_id where r.id = t.run_id);
end $$;

-- demand_of are the tasks for which an orchestrator should start agents by itself: those that nobody serves. Internal.
create function otto.demand_of(orchestrator bigint) returns jsonb language plpgsql stable as $$
begin
    return (select coalesce(jsonb_agg(lot_of(t, orchestrator) order by t.ready_at, t.id), '[]') from tasks_unserved(orchestrator, 100) t);
end $$;

-- auctions_of are the open auctions that an orchestrator can bid in, with its own bids. Internal.
create function otto.auctions_of(orchestrator bigint) returns jsonb language plpgsql stable as $$
begin
    return (
        select coalesce(jsonb_agg(jsonb_build_object('auction', x.id, 'closes_at', x.closes_at, 'tasks', x.lots) order by x.id), '[]')
          from (select a.id, a.closes_at, jsonb_agg(lot.body || jsonb_build_object('bids', (
                           select coalesce(jsonb_agg(jsonb_build_object('bid', b.id, 'template', p.name, 'cost', b.cost) order by b.id), '[]')
                             from bids b join templates p on p.id = b.template_id where b.auction_id = a.id and b.task_id = t.id and b.orchestrator_id = orchestrator)) order by t.id) as lots
                  from auctions a join auction_tasks l on l.auction_id = a.id join tasks t on t.id = l.task_id and t.state = 'ready',
                       lateral (select lot_of(t, orchestrator) as body) lot
                 where a.state = 'open' and a.closes_at > clock() and lot.body -> 'templates' <> '[]'
                 group by a.id) x);
end $$;

-- awards_of are the living awards of an orchestrator. Internal.
create function otto.awards_of(orchestrator bigint) returns jsonb language plpgsql stable as $$
begin
    return (select coalesce(jsonb_agg(jsonb_build_object('award', w.id, 'auction', w.auction_id, 'task', w.task_id, 'run', w.run_id, 'template', p.name, 'start_by', w.start_by,
                       'taken', w.taken_at is not null, 'agent', w.agent_id) order by w.awarded_at, w.task_id), '[]')
              from awards w join templates p on p.id = w.template_id where w.orchestrator_id = orchestrator and w.ended_at is null);
end $$;

-- awards_ended_of are those that ended lately without an agent at work: what was started for them is to be stopped. Internal.
create function otto.awards_ended_of(orchestrator bigint) returns jsonb language plpgsql stable as $$
begin
    return (select coalesce(jsonb_agg(jsonb_build_object('award', w.id, 'task', w.task_id, 'reason', w.end_reason) order by w.ended_at, w.task_id), '[]')
              from awards w where w.orchestrator_id = orchestrator and w.ended_at > clock() - interval '10 minutes' and w.end_reason <> 'started');
end $$;

-- agents_of are the agents that an orchestrator has started, as far as they live. Internal.
create function otto.agents_of(orchestrator bigint) returns jsonb language plpgsql stable as $$
begin
    return (select coalesce(jsonb_agg(jsonb_build_object('agent', a.id, 'name', a.name, 'state', a.state, 'template', p.name,
                       'busy', (select count(*) from leases l where l.agent_id = a.id and l.ended_at is null)) order by a.id), '[]')
              from agents a join templates p on p.id = a.template_id where a.orchestrator_id = orchestrator and a.state in ('online', 'draining'));
end $$;

-- orchestrators_text says in half a sentence what orchestrators can do for tasks with such requirements; null if there are none.
create function otto.orchestrators_text(requires jsonb) returns text language plpgsql stable as $$
declare fitting int; living int; online int;
begin
    select count(*) into online from orchestrators o where o.state = 'online';
    if online = 0 then return null; end if;
    select count(*) into fitting from templates p join orchestrators o on o.id = p.orchestrator_id where p.offered and o.state = 'online' and fits(orchestrators_text.requires, p.offers);
    select count(*) into living from templates_living(null) p where fits(orchestrators_text.requires, p.offers);
    return case when fitting = 0 then 'no orchestrator can start one'
                when living = 0 then 'those who could start one have no room, are silent or suspended'
                when (select c.auction_window from cluster c) > '0' then 'orchestrators are asked for bids'
                else 'an orchestrator can start one' end;
end $$;
