-- task_waits_for says in a sentence what a task that is not running waits for. It uses the predicates that schedule.
create function otto.task_waits_for(t tasks) returns text
language plpgsql stable security definer set search_path = public, otto, pg_temp as $$
begin
    if t.state = 'quarantined' then return 'a person: ' || coalesce(t.reason, ''); end if;
    if t.state = 'provisioning' then
        return (select 'orchestrator ' || o.name || ' to start an agent, until ' || to_char(w.start_by at time zone 'utc', 'HH24:MI:SS') || ' UTC'
                  from awards w join orchestrators o on o.id = w.orchestrator_id where w.id = t.award_id);
    elsif t.state = 'scheduled' then
        return (select 'agent ' || a.name || ' to start it' from leases l join agents a on a.id = l.agent_id where l.id = t.lease_id);
    elsif t.state = 'waiting' and t.needs_left > 0 then
        return (select 'the task' || case when count(*) > 1 then 's' else '' end || ' it needs: ' || string_agg(n.name, ', ' order by n.id)
                  from task_edges e join tasks n on n.id = e.need_id where e.task_id = t.id and n.finished_at is null);
    elsif t.state = 'waiting' then
        return coalesce((select 'stage ' || s.name from stages s where s.run_id = t.run_id and s.finished_at is null and s.index < t.stage_index order by s.index limit 1),
                        'the tasks before it');
    elsif t.state = 'blocked' then
        return case when t.undecided then 'its condition to be decided' else group_waited_for(t) end;
    elsif t.state <> 'ready' then
        return null;
    elsif t.ready_at > clock() then
        return 'the delay before its next attempt, until ' || to_char(t.ready_at at time zone 'utc', 'HH24:MI:SS') || ' UTC';
    end if;
    return agent_waited_for(t.pool, t.project_id, t.requires);
end $$;

-- group_waited_for says in a sentence who holds the concurrency group that a task waits for.
create function otto.group_waited_for(t tasks) returns text
language plpgsql stable security definer set search_path = public, otto, pg_temp as $$
declare holders text := (
    select string_agg(format('%s of run %s', h.name, h.run_id), ', ' order by h.run_id, h.id)
      from (select * from tasks h where h.group_project = t.group_project and h.group_name = t.group_name and h.state in ('ready', 'scheduled', 'provisioning', 'running')
             order by h.run_id, h.id limit 5) h);
begin
    return 'concurrency group ' || t.group_name || coalesce(': ' || holders || ' holds it', ' to be counted');
end $$;

-- agent_waited_for says in a sentence which agent the ready tasks of a project wait for that have such requirements. It looks at all agents
-- of the pool, so whoever asks for many tasks asks once for each requirement.
create function otto.agent_waited_for(pool text, project bigint, requires jsonb) returns text
language plpgsql stable security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_variable
declare fitting int; free int; online int; told jsonb := requires - 'otto.protocol'; of text := case when pool <> 'default' then ' of pool ' || pool else '' end;
begin
    if not pool_allows(pool, project) then
        return format(case when exists (select from pools p where p.name = pool) then 'pool %s, which its project may not use' else 'pool %s, which does not exist' end, pool);
    end if;
    select count(*), count(*) filter (where room_holds(agent_room(a.id), requires)) into fitting, free from agents a where a.pool = pool and a.state = 'online' and fits(requires, a.offers);
    if fitting = 0 then
        -- The protocol is Otto's own requirement: it is told only where an older agent would fit but for it.
        select count(*), case when bool_or(fits(told, a.offers)) then requires else told end into online, told from agents a where a.pool = pool and a.state = 'online';
        return 'an agent' || of || case when told = '{}' then '' else ' that offers ' || requires_text(told) end
            || case online when 0 then ': none is online' when 1 then ': the one that is online does not' else ': none of the ' || online || ' that are online does' end
            || case when online > 0 and not exists (select from agents a where a.pool = pool and a.state <> 'disabled' and fits(requires, a.offers))
                    then ', and no other has enrolled that could' else '' end
            || coalesce('; ' || orchestrators_text(requires), '');
    end if;
    return case when free = 0 then 'room on an agent' || of || ': all ' || fitting || ' that fit are busy'
                else 'an agent' || of || ' to ask for it' end;
end $$;

-- requires_text writes requirements as people do: cores>=2, go>=1.25 <2, memory>=2GiB, os=linux, tools=git+helm.
create function otto.requires_text(requires jsonb) returns text language plpgsql immutable as $$
begin
    return (select string_agg(key || otto.requirement_text(value), ', ' order by key) from jsonb_each(requires));
end $$;

-- requirement_text writes what comes after the name of a capability.
create function otto.requirement_text(need jsonb) returns text language plpgsql immutable as $$
begin
    return case jsonb_typeof(need)
        when 'number' then '>=' || case when need::numeric >= 1 << 20 then otto.bytes_text(need::numeric) else need #>> '{}' end
        when 'array' then '=' || (select string_agg(m, '+') from jsonb_array_elements_text(need) m)
        when 'object' then (select string_agg(b.key || b.value, ' ' order by left(b.key, 1) desc, b.key) from jsonb_each_text(need) b)
        else '=' || (need #>> '{}') end;
end $$;

-- bytes_text writes a number of bytes with the largest unit that leaves it whole.
create function otto.bytes_text(bytes numeric) returns text language plpgsql immutable as $$
begin
    return coalesce((select trim_scale(bytes / u.size) || u.name
                       from (values (1, 'TiB', 1::bigint << 40), (2, 'GiB', 1::bigint << 30), (3, 'MiB', 1::bigint << 20), (4, 'TB', 1000000000000), (5, 'GB', 1000000000), (6, 'MB', 1000000)) u(n, name, size)
                      where bytes >= u.size and bytes % u.size = 0 order by u.n limit 1), trim_scale(bytes)::text);
end $$;
