-- Which tasks are handed out next, and to whom. Tasks that are ready stand in queues: those of one pool and project that require the same,
-- by rank. Who can take one task of a queue can take all of them, so what a claim costs depends on how many queues there are, and not
-- on how many tasks wait.

-- task_kind tells requirements apart. An expression with a name, which the index tasks_queue has; like task_rank.
create function otto.task_kind(requires jsonb) returns bigint language sql immutable as $$
    select jsonb_hash_extended(requires, 0)
$$;

-- task_rank is a task's place in its queue: the earlier it became ready the better, and a point of priority counts as a minute. So
-- priority changes the order, and nothing waits for ever behind what is preferred to it.
create function otto.task_rank(ready_at timestamptz, priority int) returns timestamp language sql immutable as $$
    select (ready_at at time zone 'UTC') - priority * interval '1 minute'
$$;

-- queues_ready lists the queues of a pool, from one to the next by the index.
create function otto.queues_ready(pool text) returns setof otto.queue language plpgsql stable as $$
#variable_conflict use_column
begin
    return query
    with recursive q as (
        (select t.project_id, otto.task_kind(t.requires) as kind, t.requires, t.ready_at from tasks t where t.state = 'ready' and t.pool = queues_ready.pool and t.project_id is not null
          order by t.project_id, otto.task_kind(t.requires), otto.task_rank(t.ready_at, t.priority), t.id limit 1)
        union all
        select n.* from q, lateral (
            select t.project_id, otto.task_kind(t.requires), t.requires, t.ready_at from tasks t
             where t.state = 'ready' and t.pool = queues_ready.pool and (t.project_id, otto.task_kind(t.requires)) > (q.project_id, q.kind)
             order by t.project_id, otto.task_kind(t.requires), otto.task_rank(t.ready_at, t.priority), t.id limit 1) n
    )
    select q.project_id, q.kind, q.requires, 0 from q;
end $$;

-- pool_allows says whether a project may use a pool.
create function otto.pool_allows(pool text, project bigint) returns boolean language plpgsql stable as $$
begin
    return exists (select from pools p where p.name = pool_allows.pool
                      and (not p.restricted or exists (select from pool_projects a where a.pool = p.name and a.project_id = project)));
end $$;

-- reserves says what a task that requires this reserves of its agent: cores, and memory in bytes. Null: nothing.
create function otto.reserves(requires jsonb, out cores numeric, out memory numeric) language plpgsql immutable as $$
begin
    if jsonb_typeof(requires -> 'cores') = 'number' then cores := (requires -> 'cores')::numeric; end if;
    if jsonb_typeof(requires -> 'memory') = 'number' then memory := (requires -> 'memory')::numeric;
    elsif jsonb_typeof(requires -> 'memory_gb') = 'number' then memory := (requires -> 'memory_gb')::numeric * (1 << 30); end if;
end $$;

-- agent_room is what an agent has left: slots, cores and memory; of cores and memory null if it does not say how much it has.
create function otto.agent_room(agent bigint) returns otto.room language plpgsql stable as $$
begin
    return (select row(a.id, a.capacity - count(l.id), h.cores - coalesce(sum(l.cores), 0), h.memory - coalesce(sum(l.memory), 0))::otto.room
              from agents a cross join lateral otto.reserves(a.offers) h left join leases l on l.agent_id = a.id and l.ended_at is null
             where a.id = agent group by a.id, a.capacity, h.cores, h.memory);
end $$;

-- room_holds says whether a task that requires this finds room.
create function otto.room_holds(r otto.room, requires jsonb) returns boolean language plpgsql immutable as $$
begin
    return r.slots > 0 and (select (w.cores is null or coalesce(r.cores >= w.cores, false)) and (w.memory is null or coalesce(r.memory >= w.memory, false))
                              from otto.reserves(requires) w);
end $$;

-- rooms_lock is the room of the agents of some slots, at most as many slots as were given. It takes the lock of each, under which all
-- that reserves something of an agent is granted; those whose lock somebody else has are left out. Volatile, so that the room
-- is read after the locks are taken. Internal.
create function otto.rooms_lock(slots bigint[]) returns otto.room[] language plpgsql as $$
declare mine bigint[];
begin
    select array_agg(s.id order by s.n) into mine
      from (select s.id, min(s.n) as n from unnest(rooms_lock.slots) with ordinality s(id, n) group by s.id) s
     where pg_try_advisory_xact_lock(hashtext('otto.agent'), (s.id % 2147483647)::int);
    return (select array_agg(row(r.agent, least(r.slots, g.given), r.cores, r.memory)::room order by m.n)
              from unnest(mine) with ordinality m(id, n), lateral agent_room(m.id) r, lateral (select count(*) as given from unnest(rooms_lock.slots) s(id) where s.id = m.id) g);
end $$;

-- queues_share divides what can be handed out among the queues of several projects, or of one that asks for different things. The
-- project that has had the least goes first, and of those that have had as much the one whose task has waited the least: it is new.
-- Within a project the rank decides. Answered are the queues that get something, and how much. Internal.
create function otto.queues_share(queues otto.queue[], pool text, n int) returns otto.queue[] language plpgsql stable as $$
#variable_conflict use_column
begin
    return array(
    with shares as materialized (
        select j.id as project, j.weight, greatest(coalesce(s.vtime, 0), p.vtime) as vtime
          from (select distinct q.project from unnest(queues) q) d join projects j on j.id = d.project join pools p on p.name = queues_share.pool
          left join pool_shares s on s.pool = p.name and s.project_id = j.id
    ), heads as (
        select q.project, q.kind, q.requires, h.id, h.rank, s.vtime + (row_number() over (partition by q.project order by h.rank, h.id) - 1)::float8 / s.weight as tag
          from unnest(queues) q join shares s on s.project = q.project,
               lateral (select t.id, task_rank(t.ready_at, t.priority) as rank from tasks t
                         where t.state = 'ready' and t.pool = queues_share.pool and t.project_id = q.project and task_kind(t.requires) = q.kind and t.ready_at <= clock()
                         order by task_rank(t.ready_at, t.priority), t.id limit queues_share.n) h
    ), first as (
        select * from heads h order by h.tag, h.rank desc, h.id limit queues_share.n
    )
    select row(f.project, f.kind, f.requires, count(*))::queue from first f group by f.project, f.kind, f.requires order by min(f.tag));
end $$;

-- pool_charge notes what projects have got of a pool while others waited: an entry of projects for each task. It never waits: what is granted
-- while somebody else notes his grants is not charged, to whomever it goes. Internal.
create function otto.pool_charge(pool text, projects bigint[]) returns void language plpgsql as $$
declare now float8;
begin
    select p.vtime into now from pools p where p.name = pool_charge.pool for no key update skip locked;
    if not found then return; end if;
    with g as (
        select c.project, count(*)::float8 / j.weight as had, greatest(coalesce(s.vtime, 0), now) as start, 1.0 / j.weight as step
          from unnest(projects) c(project) join projects j on j.id = c.project
          left join pool_shares s on s.pool = pool_charge.pool and s.project_id = c.project group by c.project, j.weight, s.vtime
    ), charged as (
        insert into pool_shares as s (pool, project_id, vtime) select pool_charge.pool, g.project, g.start + g.had from g
        on conflict on constraint pool_shares_pkey do update set vtime = excluded.vtime
    )
    update pools p set vtime = greatest(p.vtime, (select max(g.start + g.had - g.step) from g)) where p.name = pool_charge.pool;
end $$;

-- queues_open lists the queues of which an agent's pool and offers allow tasks, n of each. Internal.
create function otto.queues_open(a agents, n int) returns otto.queue[] language plpgsql stable as $$
declare closed boolean := (select p.restricted from pools p where p.name = a.pool);
begin
    return array(select row(q.project, q.kind, q.requires, n)::queue from queues_ready(a.pool) q
                  where fits(q.requires, a.offers) and (not closed or pool_allows(a.pool, q.project)));
end $$;

-- queues_choose lists the queues of which agents get tasks, and how many: agents that can take the same, the first of which is given. Where
-- a queue reserves something, rooms is what the agents have left, under their locks, and what none of them holds now is left out. Rivals
-- says that several projects want the same. Internal.
create function otto.queues_choose(a agents, slots bigint[], out queues otto.queue[], out rooms otto.room[], out rivals boolean) language plpgsql as $$
begin
    queues := queues_open(a, cardinality(slots));
    if (select bool_or(q.requires ?| '{cores,memory,memory_gb}') from unnest(queues) q) then
        rooms := rooms_lock(slots);
        queues := array(select q from unnest(queues) q where exists (select from unnest(rooms) r where room_holds(r, q.requires)));
    end if;
    if cardinality(queues) > 1 then
        rivals := (select count(distinct q.project) > 1 from unnest(queues) q);
        queues := queues_share(queues, a.pool, cardinality(slots));
    end if;
end $$;

-- places gives tasks to slots: first those of a project to agents that have worked for it, then the others in order. Where tasks reserve
-- something, the rooms of the agents say what goes where. Internal.
create function otto.places(picks otto.pick[], slots bigint[], warm bigint[], rooms otto.room[]) returns setof otto.place language plpgsql stable as $$
begin
    if rooms is not null then return query select * from places_walk(picks, slots, warm, rooms); return; end if;
    return query
    with s as materialized (
        select s.id, s.warm, s.n, row_number() over (partition by s.warm order by s.n) as k from unnest(places.slots, places.warm) with ordinality s(id, warm, n)
    ), p as materialized (
        select p.*, row_number() over (partition by p.project order by p.n) as k from unnest(picks) with ordinality p(task, project, requires, n)
    ), w as materialized (
        select p.n as pick, s.n as slot from p join s on s.warm = p.project and s.k = p.k
    )
    select p.task, s.id, true from w join p on p.n = w.pick join s on s.n = w.slot
    union all
    select p.task, s.id, false
      from (select p.*, row_number() over (order by p.n) as place from p where p.n not in (select w.pick from w)) p
      join (select s.*, row_number() over (order by s.n) as place from s where s.n not in (select w.slot from w)) s on s.place = p.place;
end $$;

-- places_walk gives one task after the other to the agent that holds it: one that has worked for its project, or else the one with the most
-- cores left. What nobody holds any more is left out. Internal.
create function otto.places_walk(picks otto.pick[], slots bigint[], warm bigint[], rooms otto.room[]) returns setof otto.place language plpgsql stable as $$
begin
    return query
    with recursive p as materialized (
        select p.* from unnest(places_walk.picks) with ordinality p(task, project, requires, n)
    ), walk as (
        select 0::bigint as n, null::bigint as task, null::bigint as agent, false as warm, places_walk.rooms as rooms
        union all
        select p.n, p.task, f.agent, f.warm, case when f.n is null then w.rooms else w.rooms[:f.n - 1] || f.left || w.rooms[f.n + 1:] end
          from walk w join p on p.n = w.n + 1
          left join lateral (
               select r.n, r.agent, k.warm, row(r.agent, r.free - 1, r.cores - coalesce(v.cores, 0), r.memory - coalesce(v.memory, 0))::room as left
                 from unnest(w.rooms) with ordinality r(agent, free, cores, memory, n), reserves(p.requires) v,
                      lateral (select coalesce(bool_or(s.warm = p.project), false) as warm from unnest(places_walk.slots, places_walk.warm) s(id, warm) where s.id = r.agent) k
                where room_holds(row(r.agent, r.free, r.cores, r.memory)::room, p.requires)
                order by k.warm desc, r.cores desc nulls last, r.n limit 1) f on true
    )
    select w.task, w.agent, w.warm from walk w where w.agent is not null;
end $$;

-- agents_alike groups the agents of each pool by which of the tasks that are ready they can take, so that agents that differ in what nobody
-- requires, such as their host's name, are asked for together. Who can take none is left out.
create function otto.agents_alike(asked bigint[]) returns table (agents bigint[]) language plpgsql stable security definer set search_path = public, otto, pg_temp as $$
begin
    return query
    with kinds as materialized (
        select distinct p.pool, q.requires from (select distinct a.pool from agents a where a.id = any(asked)) p, queues_ready(p.pool) q
    ), words as materialized (
        select k.pool, array_agg(distinct w.word) as list from kinds k, jsonb_object_keys(k.requires) w(word) group by k.pool
    ), said as materialized (
        select a.id, a.pool, coalesce((select jsonb_object_agg(w.word, a.offers -> w.word) from words l, unnest(l.list) w(word) where l.pool = a.pool and a.offers ? w.word), '{}') as offers
          from agents a where a.id = any(asked)
    ), kept as materialized (
        select s.pool, s.offers, array_agg(s.id) as ids from said s group by s.pool, s.offers
    )
    select array_agg(i.id)
      from kept g, unnest(g.ids) i(id), lateral (select string_agg(fits(k.requires, g.offers)::int::text, '' order by k.requires) as fits from kinds k where k.pool = g.pool) f
     where f.fits like '%1%' group by g.pool, f.fits;
end $$;
