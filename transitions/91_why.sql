-- Why a task does not run: a tree of what holds it back, said by the predicates that hand out tasks. It is a JSON object, and so is each
-- of its blockers: {kind, text, hint, blockers}, where hint says what to do and blockers what lies behind.

-- blocker makes one. Internal.
create function otto.blocker(kind text, text text, hint text default null, blockers jsonb default null) returns jsonb language plpgsql immutable as $$
begin
    return jsonb_strip_nulls(jsonb_build_object('kind', kind, 'text', text, 'hint', hint, 'blockers', blockers));
end $$;

-- task_why says what holds a task back. Without blockers nothing does: it is over, or has been given to an agent, or an agent that is free can
-- take it as soon as it asks and those before it have been served.
create function otto.task_why(task bigint) returns jsonb
language plpgsql stable security definer set search_path = public, otto, pg_temp as $$
declare t tasks;
begin
    select * into t from tasks where id = task;
    if not found then raise exception 'task % does not exist', task using errcode = 'OT404'; end if;
    return jsonb_build_object('task', t.id, 'name', t.name, 'run', t.run_id, 'state', t.state, 'text', coalesce(task_waits_for(t), 'nothing: it is ' || t.state),
        'requires', t.requires - 'otto.protocol', 'pool', t.pool, 'ahead', case when t.state = 'ready' then task_ahead(t) end,
        'blockers', coalesce(case t.state when 'waiting' then why_waiting(t) when 'blocked' then why_blocked(t) when 'ready' then why_ready(t)
                         when 'quarantined' then jsonb_build_array(blocker('quarantined', 'it cannot be read: ' || coalesce(t.reason, ''), 'look at it, and abort its run: otto abort ' || t.run_id)) end, '[]'));
end $$;

-- task_ahead counts what stands before a task that is ready in its project's queues: of very many, the first hundred. Internal.
create function otto.task_ahead(t tasks) returns bigint language plpgsql stable as $$
begin
    return (select count(*) from queues_ready(t.pool) q,
                   lateral (select from tasks o where o.state = 'ready' and o.pool = t.pool and o.project_id = q.project and task_kind(o.requires) = q.kind and o.ready_at <= clock()
                               and (task_rank(o.ready_at, o.priority), o.id) < (task_rank(t.ready_at, t.priority), t.id)
                             order by task_rank(o.ready_at, o.priority), o.id limit 100) o
             where q.project = t.project_id);
end $$;

-- why_waiting: other tasks come first. Internal.
create function otto.why_waiting(t tasks) returns jsonb language plpgsql stable as $$
begin
    if t.needs_left > 0 then
        return (select jsonb_agg(blocker('need', format('task %s (%s) is %s', n.name, n.id, n.state), 'otto why ' || n.id, null) || jsonb_build_object('task', n.id) order by n.id)
                  from task_edges e join tasks n on n.id = e.need_id where e.task_id = t.id and n.finished_at is null);
    end if;
    return coalesce(
        (select jsonb_agg(blocker('stage', format('stage %s is %s', s.name, s.state), null, stage_waits_for(s)) order by s.index)
           from (select * from stages s where s.run_id = t.run_id and s.finished_at is null and s.index < t.stage_index order by s.index limit 1) s),
        (select jsonb_agg(blocker('sibling', format('task %s (%s) of its stage comes first, and is %s', o.name, o.id, o.state), 'otto why ' || o.id) || jsonb_build_object('task', o.id) order by o.index)
           from tasks o where o.run_id = t.run_id and o.stage_index = t.stage_index and o.index < t.index and o.finished_at is null),
        jsonb_build_array(blocker('stage', 'its stage has not begun')));
end $$;

-- stage_waits_for names the tasks of a stage that are not over: of very many, ten. Internal.
create function otto.stage_waits_for(s stages) returns jsonb language plpgsql stable as $$
begin
    return (select jsonb_agg(blocker('task', format('task %s (%s) is %s', o.name, o.id, o.state), 'otto why ' || o.id) || jsonb_build_object('task', o.id) order by o.index)
              from (select * from tasks o where o.run_id = s.run_id and o.stage_index = s.index and o.finished_at is null order by o.index limit 10) o);
end $$;

-- why_blocked: it is to be decided, or its group is full. Internal.
create function otto.why_blocked(t tasks) returns jsonb language plpgsql stable as $$
begin
    if t.undecided then return jsonb_build_array(blocker('condition', 'its condition or variables are to be decided', 'a worker does that: is one running?')); end if;
    return jsonb_build_array(blocker('group', group_waited_for(t), null, (
        select jsonb_agg(blocker('holder', format('task %s (%s) of run %s is %s', h.name, h.id, h.run_id, h.state), 'otto show ' || h.run_id) || jsonb_build_object('task', h.id) order by h.run_id, h.id)
          from (select * from tasks h where h.group_project = t.group_project and h.group_name = t.group_name and h.state in ('ready', 'scheduled', 'provisioning', 'running')
                 order by h.run_id, h.id limit 10) h)));
end $$;

-- why_ready: its delay is not over, its pool is not for it, or no agent of the pool has room for it. Internal.
create function otto.why_ready(t tasks) returns jsonb language plpgsql stable as $$
begin
    if t.ready_at > clock() then return jsonb_build_array(blocker('delay', task_waits_for(t))); end if;
    if not pool_allows(t.pool, t.project_id) then
        return jsonb_build_array(blocker('pool', agent_waited_for(t.pool, t.project_id, t.requires),
            case when exists (select from pools p where p.name = t.pool) then format('an administrator can allow it: otto pool allow %s %s', t.pool, (select j.name from projects j where j.id = t.project_id))
                 else 'otto pool list' end));
    end if;
    perform from agents a where a.pool = t.pool and agent_refuses(a, t.requires) is null limit 1;
    if found then return '[]'; end if;
    return jsonb_build_array(blocker('agents', agent_waited_for(t.pool, t.project_id, t.requires), agents_hint(t), (
        select jsonb_agg(r.refusal || jsonb_build_object('agent', a.id) order by a.state <> 'online', a.id)
          from (select * from agents a where a.pool = t.pool order by a.state <> 'online', a.id limit 100) a, lateral agent_refuses(a, t.requires) r(refusal))));
end $$;

-- agents_hint says what would help a task that no agent takes. Internal.
create function otto.agents_hint(t tasks) returns text language plpgsql stable as $$
begin
    return case when not exists (select from agents a where a.pool = t.pool and a.state <> 'disabled' and fits(t.requires, a.offers))
                then 'start an agent that offers this, or correct what the task requires'
                when not exists (select from agents a where a.pool = t.pool and a.state = 'online' and fits(t.requires, a.offers)) then 'an agent that is not online would fit: start it'
                else 'it starts when one of these has room, or start another agent' end;
end $$;

-- agent_refuses says why an agent of the task's pool would not get a task that requires this now; null: it would.
create function otto.agent_refuses(a agents, requires jsonb) returns jsonb language plpgsql stable as $$
declare r room;
begin
    if a.state <> 'online' then return blocker(a.state, format('agent %s is %s', a.name, a.state)); end if;
    if not fits(requires, a.offers) then return blocker('requirement', format('agent %s offers %s', a.name, requirements_missed(requires, a.offers))); end if;
    r := agent_room(a.id);
    if room_holds(r, requires) then return null; end if;
    return blocker('capacity', case when r.slots <= 0 then format('agent %s has all of its %s slots taken', a.name, a.capacity) else format('agent %s has %s', a.name, room_missed(r, requires)) end, null, (
        select jsonb_agg(blocker('lease', format('task %s (%s) has %s', t.name, t.id, concat_ws(', ', 'a slot', l.cores || ' cores', bytes_text(l.memory) || ' of memory')), 'otto show ' || t.run_id)
                         || jsonb_build_object('task', t.id) order by l.granted_at, l.id)
          from (select * from leases l where l.agent_id = a.id and l.ended_at is null and (r.slots <= 0 or num_nonnulls(l.cores, l.memory) > 0) order by l.granted_at, l.id limit 20) l join tasks t on t.id = l.task_id));
end $$;

-- requirements_missed writes down the requirements that an agent does not meet, and what it offers instead. Internal.
create function otto.requirements_missed(requires jsonb, offers jsonb) returns text language plpgsql immutable as $$
begin
    return (select string_agg(case when offers -> r.key is null then 'no ' || r.key else r.key || '=' || case when jsonb_typeof(offers -> r.key) = 'number' and (offers -> r.key)::numeric >= 1 << 20
                                   then bytes_text((offers -> r.key)::numeric) else offers ->> r.key end end || ', not ' || r.key || requirement_text(r.value), '; ' order by r.key)
              from jsonb_each(requires) r where not requirement_fits(r.value, offers -> r.key));
end $$;

-- room_missed writes down what an agent has left of what a task reserves, where that is not enough. Internal.
create function otto.room_missed(r otto.room, requires jsonb) returns text language plpgsql immutable as $$
begin
    return (select concat_ws(' and ', case when r.cores < w.cores then format('%s cores left, not %s', trim_scale(r.cores), trim_scale(w.cores)) end,
                             case when r.memory < w.memory then format('%s of memory left, not %s', bytes_text(r.memory), bytes_text(w.memory)) end) from reserves(requires) w);
end $$;
