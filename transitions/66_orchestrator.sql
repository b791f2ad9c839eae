-- Orchestrators: programs that start agents on demand. They enrol like agents, and say hello with the templates that they can start.

-- orchestrator_enrol: – → online. Uses an enrolment token up, and gives the orchestrator a credential of its own.
create function otto.orchestrator_enrol(enrol bigint, hash bytea, name text, version text, templates jsonb, actor text)
returns setof orchestrators language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare o orchestrators;
begin
    update tokens set used_at = clock() where id = enrol and kind = 'enrol' and role = 'enrol-orchestrator' and used_at is null and revoked_at is null
       and (expires_at is null or expires_at > clock());
    if not found then
        raise exception 'enrolment token % is used, revoked or expired, or not for an orchestrator: cannot enrol', enrol using errcode = 'OT403';
    end if;
    insert into orchestrators (name, version, enrolled_at, seen_at) values (orchestrator_enrol.name, orchestrator_enrol.version, clock(), clock())
    returning * into o;
    insert into tokens (hash, kind, role, name, orchestrator_id, created_by, created_at)
    values (orchestrator_enrol.hash, 'orchestrator', 'orchestrator', o.name, o.id, actor, clock());
    perform templates_offer(o.id, orchestrator_enrol.templates);

    perform emit('orchestrator.enrolled', actor, null, data => jsonb_build_object('orchestrator', o.id, 'name', o.name));
    return next o;
end $$;

-- orchestrator_hello: online, offline → online, with what it can start now. Awards that it holds stay its own.
create function otto.orchestrator_hello(orchestrator bigint, name text, version text, templates jsonb, actor text)
returns setof orchestrators language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare o orchestrators;
begin
    update orchestrators set state = 'online', name = orchestrator_hello.name, version = orchestrator_hello.version, seen_at = clock()
     where id = orchestrator and state <> 'disabled' returning * into o;
    if not found then perform refuse_orchestrator(orchestrator, 'say hello'); end if;
    perform templates_offer(orchestrator, orchestrator_hello.templates);

    perform emit('orchestrator.online', actor, null, data => jsonb_build_object('orchestrator', o.id, 'name', o.name));
    return next o;
end $$;

-- templates_offer makes what an orchestrator offers what it says; what is not said any more is offered no more. Internal.
create function otto.templates_offer(orchestrator bigint, templates jsonb)
returns void language plpgsql as $$
begin
    update templates p set offered = false where p.orchestrator_id = orchestrator and p.offered;
    insert into templates as p (orchestrator_id, name, offers, price, start_ms, instances)
    select distinct on (s.name) orchestrator, s.name, s.offers, s.price, s.start_ms, s.instances
      from jsonb_to_recordset(templates_offer.templates) s(name text, offers jsonb, price numeric, start_ms bigint, instances int)
    on conflict (orchestrator_id, name) do update
       set offers = excluded.offers, price = excluded.price, start_ms = excluded.start_ms, instances = excluded.instances, offered = true;
    perform wake('auction');
end $$;

-- orchestrator_beat says that an orchestrator lives: offline → online. It writes no more often than is needed to be believed.
create function otto.orchestrator_beat(orchestrator bigint, actor text)
returns setof orchestrators language plpgsql security definer set search_path = public, otto, pg_temp as $$
begin
    update orchestrators o set seen_at = clock() from cluster c where o.id = orchestrator and o.seen_at < clock() - c.heartbeat / 2;
    update orchestrators o set seen_at = clock(), state = 'online' where o.id = orchestrator and o.state = 'offline';
    if found then perform emit('orchestrator.online', actor, null, data => (select jsonb_build_object('orchestrator', o.id, 'name', o.name) from orchestrators o where o.id = orchestrator)); end if;
    return query select * from orchestrators o where o.id = orchestrator and o.state <> 'disabled';
    if not found then perform refuse_orchestrator(orchestrator, 'renew'); end if;
end $$;

-- orchestrator_bye: online → offline, by its own word. It bids no more; what it has won may still start. Repeating it changes nothing.
create function otto.orchestrator_bye(orchestrator bigint, actor text)
returns setof orchestrators language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare o orchestrators;
begin
    update orchestrators set state = 'offline', seen_at = clock() where id = orchestrator and state = 'online' returning * into o;
    if not found then
        return query select * from orchestrators x where x.id = orchestrator and x.state = 'offline';
        if not found then perform refuse_orchestrator(orchestrator, 'say goodbye'); end if;
        return;
    end if;
    perform emit('orchestrator.offline', actor, null, data => jsonb_build_object('orchestrator', o.id, 'name', o.name));
    return next o;
end $$;

-- orchestrator_disable: any state → disabled: it wins nothing any more, and what it has won is for the next bid; disabled → offline.
create function otto.orchestrator_disable(orchestrator bigint, disabled boolean, actor text)
returns setof orchestrators language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare o orchestrators; verb text := case when disabled then 'disable' else 'enable' end;
begin
    update orchestrators set state = case when disabled then 'disabled' else 'offline' end
     where id = orchestrator and (state = 'disabled') <> disabled returning * into o;
    if not found then perform refuse_orchestrator(orchestrator, verb); end if;
    perform enqueue('award_expire', jsonb_build_object('award', w.id)) from awards w where w.orchestrator_id = o.id and w.ended_at is null and award_is_over(w) is not null;
    perform emit('orchestrator.' || verb || 'd', actor, null, data => jsonb_build_object('orchestrator', o.id, 'name', o.name));
    return next o;
end $$;

-- orchestrators_forget: online → offline, for those that were not heard of for three lease times; not while no server could have.
create function otto.orchestrators_forget(actor text)
returns void language plpgsql as $$
declare c cluster; gone bigint[];
begin
    select * into c from cluster;
    if c.judge_from > clock() or not servers_live() then return; end if;
    with u as (
        update orchestrators set state = 'offline' where state = 'online' and seen_at < clock() - 3 * c.lease_ttl returning id
    )
    select array_agg(id) into gone from u;
    perform emit('orchestrator.offline', actor, null, data => jsonb_build_object('orchestrator', o.id, 'name', o.name, 'reason', 'silent'))
       from orchestrators o where o.id = any(gone) order by o.id;
end $$;

-- refuse_orchestrator says why an orchestrator transition did not apply.
create function otto.refuse_orchestrator(orchestrator bigint, verb text) returns void language plpgsql as $$
declare s text;
begin
    select state into s from public.orchestrators where id = orchestrator;
    if not found then
        raise exception 'orchestrator % does not exist', orchestrator using errcode = 'OT404';
    end if;
    raise exception 'orchestrator % is %: cannot %', orchestrator, s, verb using errcode = 'OT409';
end $$;

-- enrolment_create makes a token with which an agent of a template enrols, for whatever work there is.
create function otto.enrolment_create(orchestrator bigint, template text, hash bytea, actor text)
returns setof tokens language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare p templates; k tokens;
begin
    perform from templates where orchestrator_id = orchestrator for no key update;  -- one at a time, so that the room is right
    select * into p from templates_living(orchestrator) v where v.name = template;
    if not found then perform refuse_enrolment(orchestrator, template); end if;
    insert into tokens (hash, kind, role, name, created_by, created_at, expires_at, orchestrator_id, template_id)
    select enrolment_create.hash, 'enrol', 'enrol', 'agent of template ' || left(p.name, 80), actor, clock(),
           clock() + c.award_within + make_interval(secs => 2 * p.start_ms / 1000.0), orchestrator, p.id from cluster c
    returning * into k;
    perform emit('token.created', actor, null, data => jsonb_build_object('token', k.id, 'role', k.role, 'name', k.name));
    return next k;
end $$;

-- refuse_enrolment says why an agent may not be started.
create function otto.refuse_enrolment(orchestrator bigint, template text) returns void language plpgsql as $$
#variable_conflict use_variable
declare o orchestrators; p templates;
begin
    select x.* into o from orchestrators x where x.id = orchestrator;
    select x.* into p from templates x where x.orchestrator_id = orchestrator and x.name = template and x.offered;
    if p.id is null then raise exception 'orchestrator % offers no template %', o.name, template using errcode = 'OT404'; end if;
    raise exception '%: cannot enrol', case
        when o.state <> 'online' then format('orchestrator %s is %s', o.name, o.state)
        when o.suspended_until > clock() then format('orchestrator %s is suspended until %s UTC', o.name, to_char(o.suspended_until at time zone 'utc', 'HH24:MI:SS'))
        else format('template %s has all its %s instances', template, p.instances) end using errcode = 'OT409';
end $$;

-- task_starve: ready → failed, when it has waited for the queue time-out and neither an agent nor an orchestrator could run it.
create function otto.task_starve(task bigint, actor text)
returns setof tasks language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare t tasks;
begin
    perform lock_run(x.run_id) from tasks x where x.id = task;
    select * into t from tasks where id = task for no key update;
    if not found or not task_starved(t) then perform refuse_task(task, 'give up'); end if;
    perform emit(tasks_end(array[row(task, 'failed', null, 'no_capable_agent', false, actor)::ending]));
    return query select * from tasks where id = task;
end $$;

-- task_starved says whether a task has waited for the queue time-out, and nobody could run it.
create function otto.task_starved(t tasks) returns boolean language plpgsql stable as $$
begin
    return t.state = 'ready' and t.ready_at < clock() - (select c.queue_timeout from cluster c)
       and not exists (select from agents a where a.state in ('online', 'draining') and a.pool = t.pool and fits(t.requires, a.offers) and pool_allows(t.pool, t.project_id))
       and not exists (select from templates p join orchestrators o on o.id = p.orchestrator_id where p.offered and o.state = 'online' and fits(t.requires, p.offers));
end $$;

-- tasks_starved lists such tasks.
create function otto.tasks_starved(at_most int)
returns setof bigint language plpgsql stable security definer set search_path = public, otto, pg_temp as $$
begin
    return query select t.id from tasks t where t.state = 'ready' and t.ready_at < clock() - (select c.queue_timeout from cluster c) and task_starved(t) order by t.id limit at_most;
end $$;
