-- Pools: groups of agents, and the projects that may use them.

-- pool_create: – → restricted or open. A restricted pool begins with no project at all.
create function otto.pool_create(pool text, restricted boolean, actor text)
returns setof pools language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare p pools;
begin
    insert into pools (name, restricted, created_at) values (pool, pool_create.restricted, clock())
    on conflict do nothing
    returning * into p;
    if not found then raise exception 'pool % exists: cannot create', pool using errcode = 'OT409'; end if;

    perform wake('ready'); -- tasks may wait for it
    perform emit('pool.created', actor, null, data => jsonb_build_object('pool', p.name, 'restricted', p.restricted));
    return next p;
end $$;

-- pool_allow lets a project use a restricted pool. A project that is not there yet is made.
create function otto.pool_allow(pool text, project text, actor text)
returns setof pools language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare p pools := pool_restricted(pool, 'allow');
begin
    insert into projects (name, created_at) values (project, clock()) on conflict do nothing;
    insert into pool_projects (pool, project_id) select p.name, j.id from projects j where j.name = project on conflict do nothing;
    if not found then raise exception 'project % may use pool % already: cannot allow', project, pool using errcode = 'OT409'; end if;

    perform wake('ready'); -- its tasks may wait for the pool
    perform emit('pool.allowed', actor, null, data => jsonb_build_object('pool', p.name, 'project', project));
    return next p;
end $$;

-- pool_deny takes a restricted pool from a project. What it has at work there goes on; what is ready waits.
create function otto.pool_deny(pool text, project text, actor text)
returns setof pools language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare p pools := pool_restricted(pool, 'deny');
begin
    delete from pool_projects d using projects j where d.pool = p.name and d.project_id = j.id and j.name = project;
    if not found then raise exception 'project % may not use pool %: cannot deny', project, pool using errcode = 'OT409'; end if;

    perform emit('pool.denied', actor, null, data => jsonb_build_object('pool', p.name, 'project', project));
    return next p;
end $$;

-- pool_restricted finds a pool that lists its projects. Internal.
create function otto.pool_restricted(pool text, verb text) returns pools language plpgsql stable as $$
declare p pools;
begin
    select * into p from pools where name = pool;
    if not found then raise exception 'pool % does not exist', pool using errcode = 'OT404'; end if;
    if not p.restricted then
        raise exception 'pool % is open to all projects: cannot %', pool, verb using errcode = 'OT409', hint = 'otto pool create makes a pool that is not';
    end if;
    return p;
end $$;
