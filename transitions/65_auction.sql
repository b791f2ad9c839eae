-- Auctions: who starts an agent for a task that no agent with room fits. Without a window (cluster.auction_window) nothing of this
-- happens. An auction is open → completed, failed (nobody bid) or void (no task was left). A task that is won is provisioning: it
-- has an award instead of a lease, until the agent that was started for it says hello.

-- template_room is how many more agents may be started from a template: those that work, those that are won and have not come,
-- and tokens that wait for their agent all count.
create function otto.template_room(template bigint) returns int
language plpgsql stable security definer set search_path = public, otto, pg_temp as $$
begin
    return (select p.instances from templates p where p.id = template)
         - (select count(*) from agents a where a.template_id = template and a.state in ('online', 'draining'))
         - (select count(*) from awards w where w.template_id = template and w.ended_at is null
               and not exists (select from agents a where a.id = w.agent_id and a.state in ('online', 'draining')))
         - (select count(*) from tokens k join templates p on p.orchestrator_id = k.orchestrator_id where p.id = template and k.template_id = template
               and k.award_id is null and k.kind = 'enrol' and k.used_at is null and k.revoked_at is null and k.expires_at > clock());
end $$;

-- templates_living are the templates that an agent could be started from now, of one orchestrator or (null) of all. One that was not
-- heard of for a lease time does not live.
create function otto.templates_living(orchestrator bigint)
returns setof templates language plpgsql stable as $$
begin
    return query
    select p.* from templates p join orchestrators o on o.id = p.orchestrator_id
     where (orchestrator is null or o.id = orchestrator) and p.offered and o.state = 'online' and o.seen_at > clock() - (select c.lease_ttl from cluster c)
       and coalesce(o.suspended_until, '-infinity') <= clock() and template_room(p.id) > 0;
end $$;

-- tasks_unserved lists ready tasks that no agent with room fits, and that an agent would fit that could be started; by rank. Such agents
-- come into the pool default. It holds each queue against agents and templates once, however many tasks wait in it.
create function otto.tasks_unserved(orchestrator bigint, at_most int)
returns setof tasks language plpgsql stable as $$
begin
    return query
    with open as materialized (
        select q.* from queues_ready('default') q
         where not exists (select from agents a where a.state = 'online' and a.pool = 'default' and fits(q.requires, a.offers) and room_holds(agent_room(a.id), q.requires))
           and exists (select from templates_living(orchestrator) p where fits(q.requires, p.offers))
           and pool_allows('default', q.project)
    )
    select t.* from open q, lateral (
           select t.* from tasks t where t.state = 'ready' and t.pool = 'default' and t.project_id = q.project and task_kind(t.requires) = q.kind and t.ready_at <= clock()
            order by task_rank(t.ready_at, t.priority), t.id limit at_most) t
     order by task_rank(t.ready_at, t.priority), t.id limit at_most;
end $$;

-- auction_open: – → open, one for each stage with tasks that nobody serves and that are in no auction; not while somebody else opens.
create function otto.auction_open(actor text)
returns setof auctions language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare c cluster; opened bigint[];
begin
    select * into c from cluster;
    if c.auction_window = '0' or not pg_try_advisory_xact_lock(hashtext('otto.auction'), 0) then return; end if;
    with due as materialized (
        select t.*, coalesce(b.round, 0) as round from tasks_unserved(null, 500) t
          left join lateral (select l.round, l.outcome, l.again_at from auction_tasks l where l.task_id = t.id order by l.auction_id desc limit 1) b on true
         where b.round is null or (b.outcome is not null and coalesce(b.again_at, '-infinity') <= clock())
    ), made as (
        insert into auctions (run_id, stage_id, opened_at, closes_at)
        select distinct d.run_id, d.stage_id, clock(), clock() + c.auction_window from due d
        returning *
    ), lots as (
        insert into auction_tasks (auction_id, task_id, round) select m.id, d.id, d.round + 1 from due d join made m on m.stage_id = d.stage_id
        returning *
    )
    select array_agg(distinct l.auction_id) into opened from lots l;
    if opened is null then return; end if;

    perform emit(array(
        select row('auction.started', false, actor, a.run_id, a.stage_id, null, null, null,
                   jsonb_build_object('auction', a.id, 'closes_at', a.closes_at, 'tasks', (select jsonb_agg(l.task_id order by l.task_id) from auction_tasks l where l.auction_id = a.id)))::new_event
          from auctions a where a.id = any(opened) order by a.id));
    perform enqueue('auction_close', jsonb_build_object('auction', a.id), at => a.closes_at) from auctions a where a.id = any(opened) order by a.id;
    perform wake('auction');
    return query select * from auctions where id = any(opened) order by id;
end $$;

-- estimate_of is how long a task will take on an agent of a template: the median of its last 20 successes there, in its project.
-- Null if there is none.
create function otto.estimate_of(task bigint, template bigint) returns bigint language plpgsql stable as $$
begin
    return (
        select percentile_cont(0.5) within group (order by extract(epoch from h.ended_at - h.started_at) * 1000)
          from (select l.started_at, l.ended_at
                  from tasks t join runs r on r.id = t.run_id
                  join awards w on w.template_id = template and w.project_id = r.project_id and w.task_name = t.name and w.end_reason = 'started'
                  join leases l on l.id = w.lease_id and l.end_reason = 'finished' and l.started_at is not null
                  join tasks past on past.id = w.task_id and past.epoch = l.epoch and past.state = 'succeeded'
                 where t.id = task order by w.awarded_at desc limit 20) h);
end $$;

-- bid_place: an offer for a task of an open auction; a second one from the same template replaces the first. Repeating it changes nothing.
create function otto.bid_place(auction bigint, task bigint, orchestrator bigint, template text, price numeric, estimate_ms bigint, within_ms bigint, actor text)
returns setof bids language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare a auctions; t tasks; p templates; b bids; past bigint; ms bigint;
begin
    perform orchestrator_beat(orchestrator, actor);
    select * into a from auctions where id = auction and state = 'open' and closes_at > clock() for share;
    select k.* into t from auction_tasks l join tasks k on k.id = l.task_id where l.auction_id = a.id and l.task_id = task and k.state = 'ready';
    select * into p from templates_living(orchestrator) v where v.name = template and fits(t.requires, v.offers);
    if a.id is null or t.id is null or p.id is null then perform refuse_bid(auction, task, orchestrator, template); end if;
    past := case when estimate_ms is null then estimate_of(task, p.id) end;
    ms := coalesce(estimate_ms, past, 60000);
    insert into bids as x (auction_id, task_id, orchestrator_id, template_id, price, estimate_ms, estimated_by, start_ms, within_ms, cost, placed_at)
    select a.id, t.id, orchestrator, p.id, v.price, ms, case when estimate_ms is not null then 'bidder' when past is not null then 'history' else 'default' end,
           p.start_ms, coalesce(within_ms, (extract(epoch from c.award_within) * 1000)::bigint), v.price * ms / 3600000, clock()
      from cluster c, (values (coalesce(bid_place.price, p.price))) v(price)
    on conflict (auction_id, task_id, template_id) do update
       set price = excluded.price, estimate_ms = excluded.estimate_ms, estimated_by = excluded.estimated_by, within_ms = excluded.within_ms, cost = excluded.cost, placed_at = excluded.placed_at
     where (x.price, x.estimate_ms, x.within_ms) is distinct from (excluded.price, excluded.estimate_ms, excluded.within_ms)
    returning * into b;
    if not found then
        return query select * from bids o where o.auction_id = a.id and o.task_id = t.id and o.template_id = p.id;
        return;
    end if;

    perform emit('bid.received', actor, t.run_id, t.id, data => jsonb_build_object('auction', a.id, 'bid', b.id, 'orchestrator', orchestrator, 'template', p.name,
        'price', b.price, 'estimate_ms', b.estimate_ms, 'estimated_by', b.estimated_by, 'within_ms', b.within_ms, 'cost', b.cost));
    return next b;
end $$;

-- refuse_bid says why a bid was not taken.
create function otto.refuse_bid(auction bigint, task bigint, orchestrator bigint, template text) returns void language plpgsql as $$
#variable_conflict use_variable
declare a auctions; t tasks; o orchestrators; p templates;
begin
    select x.* into a from auctions x where x.id = auction;
    select x.* into t from auction_tasks l join tasks x on x.id = l.task_id where l.auction_id = auction and l.task_id = task;
    select x.* into o from orchestrators x where x.id = orchestrator;
    select x.* into p from templates x where x.orchestrator_id = orchestrator and x.name = template and x.offered;
    case
        when a.id is null then raise exception 'auction % does not exist', auction using errcode = 'OT404';
        when t.id is null then raise exception 'task % is not in auction %', task, auction using errcode = 'OT404';
        when p.id is null then raise exception 'orchestrator % offers no template %', o.name, template using errcode = 'OT404';
        when a.state <> 'open' or a.closes_at <= clock() then
            raise exception 'auction % is %: cannot bid', auction, case a.state when 'open' then 'over' else a.state end using errcode = 'OT409';
        when t.state <> 'ready' then raise exception 'task % is %: cannot bid', task, t.state using errcode = 'OT409';
        when o.state <> 'online' then raise exception 'orchestrator % is %: cannot bid', o.name, o.state using errcode = 'OT409';
        when o.suspended_until > clock() then
            raise exception 'orchestrator % is suspended until % UTC: cannot bid', o.name, to_char(o.suspended_until at time zone 'utc', 'HH24:MI:SS') using errcode = 'OT409';
        when not fits(t.requires, p.offers) then
            raise exception 'template % does not fit task %, which requires %: cannot bid', template, task, requires_text(t.requires) using errcode = 'OT409';
        else raise exception 'template % has all its % instances: cannot bid', template, p.instances using errcode = 'OT409';
    end case;
end $$;

-- bids_living are the bids for a task that could be won now, the best first: the cheapest, then the earliest.
create function otto.bids_living(auction bigint, task bigint)
returns setof bids language plpgsql stable as $$
begin
    return query select b.* from bids b join templates_living(null) p on p.id = b.template_id
     where b.auction_id = auction and b.task_id = task and b.state = 'placed' order by b.cost, b.placed_at, b.id;
end $$;

-- task_award: ready → provisioning, or provisioning again when the award before is over: the best living bid wins. No event says that
-- there is none, and no task has two living awards. Internal, under the run's lock.
create function otto.task_award(task bigint, auction bigint, after text, actor text)
returns otto.new_event[] language plpgsql volatile as $$
#variable_conflict use_column
declare t tasks; b bids; w awards; who text;
begin
    select * into t from tasks where id = task and state in ('ready', 'provisioning') for no key update;
    if not found then return '{}'; end if;
    perform from templates p where p.id in (select v.template_id from bids_living(auction, task) v) order by p.id for no key update;  -- so that their room is right
    select * into b from bids_living(auction, task) limit 1;
    if not found then return '{}'; end if;
    insert into awards (id, bid_id, auction_id, task_id, run_id, orchestrator_id, template_id, project_id, task_name, because, awarded_at, start_by)
    select gen_random_uuid(), b.id, auction, t.id, t.run_id, b.orchestrator_id, b.template_id, r.project_id, t.name, bid_because(b, after), clock(),
           clock() + greatest(c.award_within, make_interval(secs => b.within_ms / 1000.0))
      from cluster c, runs r where r.id = t.run_id
    returning * into w;
    update bids set state = 'won' where id = b.id;
    update tasks set state = 'provisioning', award_id = w.id, reason = null where id = t.id;
    perform enqueue('award_expire', jsonb_build_object('award', w.id), at => w.start_by);
    select o.name into who from orchestrators o where o.id = w.orchestrator_id;
    return array[
        row('award.granted', false, actor, t.run_id, t.stage_id, t.id, null, null, jsonb_build_object('auction', auction, 'award', w.id, 'bid', b.id, 'orchestrator', who,
            'cost', b.cost, 'start_by', w.start_by, 'because', w.because))::new_event,
        row('task.provisioning', false, actor, t.run_id, t.stage_id, t.id, null, null, jsonb_build_object('orchestrator', who, 'award', w.id))::new_event];
end $$;

-- bid_because says in a sentence why a bid wins.
create function otto.bid_because(b bids, after text) returns text language plpgsql stable as $$
declare bids int; told text;
begin
    select count(*), string_agg(format('%s/%s %s', o.name, p.name, x.cost), ', ' order by x.cost, x.placed_at, x.id) filter (where x.n <= 10)
      into bids, told
      from (select y.*, row_number() over (order by y.cost, y.placed_at, y.id) as n from bids y where y.auction_id = b.auction_id and y.task_id = b.task_id) x
      join orchestrators o on o.id = x.orchestrator_id join templates p on p.id = x.template_id;
    return case when bids = 1 then 'the only bid: ' else coalesce('next, after ' || after || ', ', '') || 'cheapest ' || case when after is null then 'of ' else 'living of ' end || bids || ' bids: ' end
        || told || case when bids > 10 then ', …' else '' end;
end $$;

-- auction_close: open → completed, failed, void, when its window is over. Each task is awarded by itself, the oldest first, so that the next
-- sees what room a template has left.
create function otto.auction_close(auction bigint, actor text)
returns setof auctions language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare a auctions; news new_event[]; s text; won jsonb;
begin
    perform lock_run(x.run_id) from auctions x where x.id = auction;
    select * into a from auctions where id = auction and state = 'open' and closes_at <= clock() for no key update;
    if not found then perform refuse_auction(auction, 'close'); end if;
    news := array(select n from (select t.id from auction_tasks l join tasks t on t.id = l.task_id where l.auction_id = auction order by t.priority desc, t.ready_at, t.id offset 0) t,
                         lateral unnest(task_award(t.id, auction, null, actor)) n);
    update auction_tasks l set outcome = case when w.id is not null then 'awarded' when t.state = 'ready' then 'no_bids' else 'gone' end, again_at = clock() + backoff(l.round)
      from tasks t left join awards w on w.id = t.award_id and w.auction_id = auction where l.auction_id = auction and t.id = l.task_id;
    select case when bool_or(outcome = 'awarded') then 'completed' when bool_or(outcome = 'no_bids') then 'failed' else 'void' end into s from auction_tasks where auction_id = auction;
    update auctions set state = s, closed_at = clock() where id = auction returning * into a;
    won := (select jsonb_agg(jsonb_build_object('task', w.task_id, 'winner', o.name, 'template', p.name, 'bid', w.bid_id, 'cost', b.cost) order by w.task_id)
              from awards w join bids b on b.id = w.bid_id join orchestrators o on o.id = w.orchestrator_id join templates p on p.id = w.template_id where w.auction_id = auction);

    perform emit(row('auction.' || s, false, actor, a.run_id, a.stage_id, null, null, null, jsonb_build_object('auction', auction, 'tasks', won,
        'without', (select jsonb_agg(task_id order by task_id) from auction_tasks where auction_id = auction and outcome = 'no_bids')))::new_event || news);
    perform wake('auction');
    return next a;
end $$;

-- backoff is how long no new round is opened for a task after one that came to nothing: 1 s, 2 s, 4 s … 30 s.
create function otto.backoff(round int) returns interval language plpgsql immutable as $$
begin
    return least(interval '1 second' * (1 << least(round - 1, 5)), interval '30 seconds');
end $$;

-- refuse_auction says why an auction transition did not apply.
create function otto.refuse_auction(auction bigint, verb text) returns void language plpgsql as $$
declare s text;
begin
    select state into s from public.auctions where id = auction;
    if not found then
        raise exception 'auction % does not exist', auction using errcode = 'OT404';
    end if;
    raise exception 'auction % is %: cannot %', auction, s, verb using errcode = 'OT409';
end $$;

-- auctions_due lists what is due by the clock: auctions to close, and awards to take away.
create function otto.auctions_due(at_most int)
returns table (auction bigint, award uuid) language plpgsql stable security definer set search_path = public, otto, pg_temp as $$
begin
    return query (select a.id, null::uuid from auctions a where a.state = 'open' and a.closes_at <= clock() order by a.closes_at limit at_most)
       union all (select null, w.id from awards w where w.ended_at is null and award_is_over(w) is not null order by w.start_by limit at_most);
end $$;

-- auctions_find inserts the jobs anew that close auctions and take awards away, where they are lost; it answers how many. Internal.
create function otto.auctions_find() returns int language plpgsql as $$
declare n int;
begin
    with due as materialized (
        select case when d.award is null then 'auction_close' else 'award_expire' end as kind,
               jsonb_strip_nulls(jsonb_build_object('auction', d.auction, 'award', d.award)) as args from auctions_due(500) d
    )
    select count(enqueue(d.kind, d.args)) into n from due d where not job_waits(d.kind, d.args);
    return n;
end $$;
