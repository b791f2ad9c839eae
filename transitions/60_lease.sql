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

-- lease_grants is what agents must know of leases that they were granted. Volatile, though it only reads: so it sees what the
-- statement that calls it has just granted.
create function otto.lease_grants(leases uuid[])
returns table (id uuid, epoch int, task_id bigint, run_id bigint, agent_id bigint, run_uuid uuid, project text, stage text,
               spec json, decided jsonb, source_digest text, source_bytes bigint, repository text, ref text, commit_sha text, project_id bigint, reserves boolean) language plpgsql volatile as $$
#variable_conflict use_column
begin
    return query
    select l.id, l.epoch, l.task_id, l.run_id, l.agent_id, r.uuid, p.name, s.name, t.spec, k.decided, coalesce(src.digest, ''), coalesce(src.bytes, 0),
           coalesce(r.repository, ''), coalesce(r.ref, ''), coalesce(r.commit_sha, ''),
           r.project_id, num_nonnulls(l.cores, l.memory) > 0
      from public.leases l
      join public.tasks k on k.id = l.task_id
      join public.runs r on r.id = l.run_id
      join public.projects p on p.id = r.project_id
      join public.stages s on s.id = k.stage_id
      join public.plan_tasks t on t.plan_digest = r.plan_digest and t.stage_index = k.stage_index and t.task_index = k.index
      left join public.sources src on src.digest = r.source_digest
     where l.id = any(lease_grants.leases);
end $$;

-- leases_renew: the heartbeats of agents, [{agent, held, draining, idle}]: renews the leases they name, and only those that are still
-- their own. It never waits: a heartbeat whose agent's row somebody else holds is left out, and a lease that somebody holds is
-- answered as locked; ask for these with lease_renew, one by one. Fenced are leases that are over, or somebody else's. A
-- heartbeat marked idle comes late, after its agent may have said goodbye: it is left out unless the agent is online.
create function otto.leases_renew(beats jsonb)
returns table (place int, fenced uuid[], locked uuid[], orders jsonb) language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare seen bigint[]; renewed uuid[];
begin
    with said as (select distinct on (b.agent) b.* from jsonb_array_elements(beats) with ordinality e(beat, n),
                         jsonb_to_record(e.beat) b(agent bigint, draining boolean, idle boolean) order by b.agent, e.n desc),
         free as (select a.id, said.draining from said join agents a on a.id = said.agent
                   where a.state = 'online' or said.idle is not true for no key update of a skip locked),
         u as (update agents a set seen_at = clock(), state = case when a.state = 'disabled' then a.state when f.draining then 'draining' else 'online' end
                 from free f where a.id = f.id returning a.id)
    select coalesce(array_agg(u.id), '{}') into seen from u;
    with free as (select l.id from jsonb_to_recordset(beats) b(agent bigint, held uuid[]), unnest(b.held) h(id) join leases l on l.id = h.id
                   where l.agent_id = b.agent and l.ended_at is null and b.agent = any(seen) for no key update of l skip locked),
         u as (update leases l set expires_at = clock() + c.lease_ttl from free f, cluster c where l.id = f.id returning l.id)
    select coalesce(array_agg(u.id), '{}') into renewed from u;
    -- A statement of its own, which sees what ended meanwhile: so what is neither over nor renewed is locked.
    return query
    select e.n::int - 1, coalesce(array_agg(h.id) filter (where h.id is not null and l.id is null), '{}'),
           coalesce(array_agg(l.id) filter (where l.id is not null and l.id <> all(renewed)), '{}'),
           coalesce(jsonb_agg(jsonb_build_object('lease', l.id, 'level', l.abort_level, 'reason', coalesce(l.abort_reason, '')))
                    filter (where l.abort_at is not null and l.id = any(renewed)), '[]')
      from jsonb_array_elements(beats) with ordinality e(beat, n), jsonb_to_record(e.beat) b(agent bigint, held uuid[])
      left join unnest(b.held) h(id) on true left join leases l on l.id = h.id and l.agent_id = b.agent and l.ended_at is null
     where b.agent = any(seen) group by e.n;
end $$;

-- lease_renew: the heartbeat of one agent, which waits for whoever holds its rows. Those who hold one of an agent's leases may
-- be about to take another, so name no more than one where you can.
create function otto.lease_renew(agent bigint, held uuid[], draining boolean)
returns setof leases language plpgsql security definer set search_path = public, otto, pg_temp as $$
begin
    perform from agents a where a.id = agent for no key update;
    if not found then perform refuse_agent(agent, 'renew'); end if;
    perform from leases i where i.agent_id = agent and i.ended_at is null and i.id = any(held) order by i.id for no key update;
    perform leases_renew(jsonb_build_array(jsonb_build_object('agent', agent, 'held', held, 'draining', draining)));
    return query select * from leases l where l.agent_id = agent and l.ended_at is null and l.id = any(held);
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

-- server_beat says that an API node is alive, and answers the settings; among them token_changes, which tells the node whether
-- the credentials that it remembers are still what they were. When none was for a while, agents could not renew, so every
-- lease gets one full lease time from now before it is judged.
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
