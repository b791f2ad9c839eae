-- Projects, and what their runs may ask for.

-- project_grant says what power over agents' machines the containers of a project may ask for: all of it, so that none takes it
-- away. A project that is not there yet is made.
create function otto.project_grant(project text, powers text[], actor text)
returns setof projects language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare p projects; known constant text[] := array['docker_socket', 'host_mounts', 'host_network', 'privileged'];
begin
    if not powers <@ known then
        raise exception '% is no power of containers: write some of %', array_to_string(array(select unnest(powers) except select unnest(known) order by 1), ', '),
            array_to_string(known, ', ') using errcode = 'OT409';
    end if;
    insert into projects as o (name, created_at, grants) values (project, clock(), array(select distinct unnest(powers) order by 1))
    on conflict (name) do update set grants = excluded.grants
    returning * into p;
    perform emit('project.granted', actor, null, data => jsonb_build_object('project', p.name, 'grants', p.grants));
    return next p;
end $$;

-- refuse_ungranted refuses a run whose plan asks for what its project has no grant for. Internal.
create function otto.refuse_ungranted(plan text, project text) returns void language plpgsql stable as $$
declare lacks text := plan_ungranted(plan, project);
begin
    if lacks is not null then raise exception '%: cannot run', lacks using errcode = 'OT409'; end if;
end $$;

-- plan_ungranted says in a sentence what a plan asks for that its project has no grant for; null if nothing. Internal.
create function otto.plan_ungranted(plan text, project text) returns text language plpgsql stable as $$
declare asked text[] := array(select jsonb_array_elements_text(p.rules -> 'asks') from plans p where p.digest = plan_ungranted.plan); lacking text[];
begin
    if cardinality(asked) = 0 then return null; end if;
    lacking := array(select unnest(asked) except select unnest(grants) from projects p where p.name = plan_ungranted.project order by 1);
    if cardinality(lacking) = 0 then return null; end if;
    return format('project %s has no grant for %s, which containers of the plan ask for', plan_ungranted.project, array_to_string(lacking, ', '));
end $$;
