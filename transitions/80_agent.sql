-- Agents and credentials.

-- token_create makes a credential. The caller keeps the secret; the hash is stored. The pool is that of the agent that enrols with it.
create function otto.token_create(hash bytea, kind text, role text, name text, expires_at timestamptz, actor text, pool text default null)
returns setof tokens language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare t tokens;
begin
    if pool is not null and role <> 'enrol' then
        raise exception 'a token of role % has no pool: only the role enrol does', role using errcode = 'OT409';
    end if;
    if pool is not null and not exists (select from pools p where p.name = pool) then
        raise exception 'pool % does not exist', pool using errcode = 'OT404';
    end if;
    insert into tokens (hash, kind, role, name, created_by, created_at, expires_at, pool)
    values (hash, kind, role, name, actor, clock(), expires_at, pool)
    returning * into t;
    perform emit('token.created', actor, null, data => jsonb_build_object('token', t.id, 'role', t.role, 'name', t.name, 'pool', t.pool));
    return next t;
end $$;

-- token_revoke ends a credential; an agent's work is taken away with it. The servers learn of it with their next beat.
create function otto.token_revoke(token bigint, actor text)
returns setof tokens language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare t tokens;
begin
    update tokens set revoked_at = clock() where id = token and revoked_at is null returning * into t;
    if not found then
        if exists (select from tokens where id = token) then
            raise exception 'token % is revoked: cannot revoke', token using errcode = 'OT409';
        end if;
        raise exception 'token % does not exist', token using errcode = 'OT404';
    end if;
    update agents set state = 'disabled' where id = t.agent_id;
    if t.agent_id is not null then perform agent_lose(t.agent_id, actor); end if;
    update orchestrators set state = 'disabled' where id = t.orchestrator_id and t.kind = 'orchestrator';
    update cluster set token_changes = token_changes + 1;
    perform emit('token.revoked', actor, null, data => jsonb_build_object('token', t.id, 'name', t.name));
    return next t;
end $$;

-- token_use finds a living credential by its hash, and notes once a minute that it was used.
create function otto.token_use(hash bytea)
returns setof tokens language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare t tokens;
begin
    select * into t from tokens where hash = token_use.hash;
    if not found then return; end if;
    if t.last_used_at is null or t.last_used_at < clock() - interval '1 minute' then
        update tokens set last_used_at = clock() where id = t.id;
    end if;
    return next t;
end $$;

-- tokens_use notes that credentials were used, by their numbers, and answers those that are good. What somebody else holds is
-- left out, so that it never waits.
create function otto.tokens_use(used bigint[])
returns setof bigint language plpgsql security definer set search_path = public, otto, pg_temp as $$
begin
    return query
    update tokens t set last_used_at = clock()
      from (select u.id from tokens u where u.id = any(used) and u.revoked_at is null and (u.expires_at is null or u.expires_at > clock())
               for no key update skip locked) free
     where t.id = free.id
    returning t.id;
end $$;

-- agent_enrol: – → online. Uses an enrolment token up, and gives the agent a credential of its own.
create function otto.agent_enrol(enrol bigint, hash bytea, name text, version text, capacity int, offers jsonb, actor text)
returns setof agents language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare a agents; k tokens;
begin
    update tokens set used_at = clock() where id = enrol and kind = 'enrol' and role = 'enrol' and used_at is null and revoked_at is null
       and (expires_at is null or expires_at > clock())
    returning * into k;
    if not found then
        raise exception 'enrolment token % is used, revoked or expired: cannot enrol', enrol using errcode = 'OT403';
    end if;
    insert into agents (name, version, capacity, offers, enrolled_at, seen_at, orchestrator_id, template_id, pool)
    values (agent_enrol.name, agent_enrol.version, agent_enrol.capacity, agent_enrol.offers, clock(), clock(), k.orchestrator_id, k.template_id, coalesce(k.pool, 'default'))
    returning * into a;
    if k.award_id is not null then update awards set agent_id = a.id where id = k.award_id and ended_at is null; end if;
    insert into tokens (hash, kind, role, name, agent_id, created_by, created_at)
    values (agent_enrol.hash, 'agent', 'agent', a.name, a.id, actor, clock());

    perform emit('agent.enrolled', actor, null, data => jsonb_build_object('agent', a.id, 'name', a.name));
    return next a;
end $$;

-- agent_hello: online, draining, offline → online. The agent program has started, so it knows nothing of the leases of
-- its life before: they are taken away.
create function otto.agent_hello(agent bigint, name text, version text, capacity int, offers jsonb, actor text)
returns setof agents language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare a agents; was text := (select name from agents where id = agent);
begin
    perform agent_lose(agent, actor);
    update agents set state = 'online', name = agent_hello.name, version = agent_hello.version, capacity = agent_hello.capacity,
           offers = agent_hello.offers, seen_at = clock()
     where id = agent and state <> 'disabled'
    returning * into a;
    if not found then perform refuse_agent(agent, 'say hello'); end if;
    if was <> a.name then update cluster set token_changes = token_changes + 1; end if; -- servers remember whose a credential is

    perform emit('agent.online', actor, null, data => jsonb_build_object('agent', a.id, 'name', a.name));
    if a.orchestrator_id is not null then perform award_start(a.id, actor); end if;
    return next a;
end $$;

-- agent_offer: what an agent that works offers from now on; it keeps its state and its leases. Repeating it changes nothing.
create function otto.agent_offer(agent bigint, offers jsonb, actor text)
returns setof agents language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare a agents;
begin
    update agents set offers = agent_offer.offers where id = agent and state in ('online', 'draining') and offers <> agent_offer.offers returning * into a;
    if not found then
        return query select * from agents where id = agent and state in ('online', 'draining');
        if not found then perform refuse_agent(agent, 'offer'); end if;
        return;
    end if;
    perform wake('ready');
    perform emit('agent.offering', actor, null, data => jsonb_build_object('agent', a.id, 'name', a.name));
    return next a;
end $$;

-- agent_bye: online, draining → offline. The agent program ends, by its own word. Repeating it changes nothing.
create function otto.agent_bye(agent bigint, actor text)
returns setof agents language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare a agents;
begin
    update agents set state = 'offline', seen_at = clock() where id = agent and state in ('online', 'draining') returning * into a;
    if not found then
        return query select * from agents where id = agent and state = 'offline';
        if not found then perform refuse_agent(agent, 'say goodbye'); end if;
        return;
    end if;
    perform agent_lose(agent, actor);
    perform emit('agent.offline', actor, null, data => jsonb_build_object('agent', a.id, 'name', a.name));
    return next a;
end $$;

-- agent_lose takes all leases of an agent away. Internal.
create function otto.agent_lose(agent bigint, actor text)
returns void language plpgsql as $$
declare was text;
begin
    perform from leases where agent_id = agent and ended_at is null limit 1;
    if not found then return; end if;
    perform set_config('otto.runs_in_order', 'on', true);
    update agents set state = 'offline' where id = agent and state <> 'disabled';
    perform lease_lose(l, actor)
       from (select * from leases where agent_id = agent
                and ended_at is null order by run_id, task_id) l;
end $$;

-- lease_lose takes one of them away, unless it ended meanwhile. Internal.
create function otto.lease_lose(l leases, actor text)
returns void language plpgsql as $$
begin
    perform lock_run(l.run_id);
    if exists (select from leases e where e.id = l.id and e.ended_at is null) then
        perform task_interrupt(l.id, l.epoch, 'agent_gone', actor);
    end if;
end $$;

-- agent_disable: any state → disabled: it gets no work any more and its work is taken away; disabled → offline.
create function otto.agent_disable(agent bigint, disabled boolean, actor text)
returns setof agents language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare a agents; verb text := case when disabled then 'disable' else 'enable' end;
begin
    update agents set state = case when disabled then 'disabled' else 'offline' end
     where id = agent and (state = 'disabled') <> disabled
    returning * into a;
    if not found then perform refuse_agent(agent, verb); end if;
    if disabled then perform agent_lose(agent, actor); end if;
    perform emit('agent.' || verb || 'd', actor, null, data => jsonb_build_object('agent', a.id, 'name', a.name));
    return next a;
end $$;

-- agents_forget: online, draining → offline, for agents that were not heard of for three lease times; not while no server is
-- alive that could have heard them.
create function otto.agents_forget(actor text)
returns void language plpgsql as $$
declare c cluster; gone bigint[];
begin
    select * into c from cluster;
    if c.judge_from > clock() or not servers_live() then return; end if;
    with u as (
        update agents set state = 'offline' where state in ('online', 'draining') and seen_at < clock() - 3 * c.lease_ttl returning id
    )
    select array_agg(id) into gone from u;
    perform emit('agent.offline', actor, null, data => jsonb_build_object('agent', a.id, 'name', a.name, 'reason', 'silent'))
       from agents a where a.id = any(gone) order by a.id;
end $$;
