-- Leases: renewing, judging and ending them.

-- leases_end ends attempts. A log is over with its attempt, unless the agent says that more of it will come. Internal.
create function otto.leases_end(reports otto.report[], why text)
returns void language plpgsql as $$
declare over boolean;
begin
    with u as (
        update leases l
           set ended_at = clock(), end_reason = why, exit_code = r.exit_code,
               log_want = (r.log ->> 'chunks')::int, log_total = (r.log ->> 'bytes')::bigint, log_sha256 = r.log ->> 'sha256',
               log_done_at = case when coalesce((r.log ->> 'chunks')::int, 0) <= l.log_chunks then clock() end
          from unnest(reports) r where l.id = r.lease and l.end_reason is null
        returning l.log_done_at, l.log_chunks
    )
    select bool_or(u.log_done_at is not null and u.log_chunks > 0) into over from u;
    if over then perform wake('log'); end if; -- who follows has all bytes, but not the end
end $$;

-- lease_renew: the heartbeat of an agent. Renews the leases it names, and only those that are still its own.
create function otto.lease_renew(agent bigint, held uuid[], draining boolean)
returns setof leases language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare c cluster;
begin
    select * into c from cluster;
    update agents a set seen_at = clock(), state = case when a.state = 'disabled' then a.state when draining then 'draining' else 'online' end where a.id = agent;
    if not found then perform refuse_agent(agent, 'renew'); end if;
    return query update leases l set expires_at = clock() + c.lease_ttl
      where l.id in (select i.id from leases i where i.agent_id = agent and i.ended_at is null and i.id = any(held) order by i.id for no key update)
    returning *;
end $$;

-- lease_judge lists the leases to take away, with the reason. Nobody is judged before judge_from, nor while no server
-- is alive: agents that had nobody to renew with have not been lost.
create function otto.lease_judge(at_most int)
returns table (lease uuid, epoch int, why text) language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
begin
    return query
    select distinct on (l.id) l.id, l.epoch, w.why
      from leases l, cluster c,
           unnest(array['agent_gone', 'unconfirmed', 'overdue', 'not_started', 'expired']) with ordinality w(why, n)
     where l.ended_at is null
       and (l.expires_at < clock() or l.deadline_at < clock() or (l.started_at is null and l.start_by < clock())
            or exists (select from agents a where a.id = l.agent_id and a.state in ('offline', 'disabled')))
       and lease_is(l, w.why)
       and (w.why = 'agent_gone' or (c.judge_from <= clock() and servers_live()))
     order by l.id, w.n limit at_most;
end $$;

-- servers_live says whether an API node was heard of lately. Lately is well within the time for which a lease that was
-- renewed in time outlives its last renewal, so an outage is noticed before it makes any lease run out.
create function otto.servers_live() returns boolean language plpgsql stable as $$
begin
    return exists (select from cluster c join servers s on s.seen_at > clock() - (c.lease_ttl - c.heartbeat) / 2);
end $$;

-- server_beat says that an API node is alive, and answers the settings. When none was for a while, agents could not renew,
-- so every lease gets one full lease time from now before it is judged.
create function otto.server_beat(name text)
returns setof cluster language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
begin
    update cluster set judge_from = clock() + lease_ttl where not servers_live() and judge_from < clock() + lease_ttl;
    delete from servers where seen_at < clock() - interval '1 day';
    insert into servers as s (name, started_at, seen_at) values (server_beat.name, clock(), clock())
        on conflict (name) do update set seen_at = clock();
    return query select * from cluster;
end $$;
