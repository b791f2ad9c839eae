-- What runs are made of: sources and plans. Both are named by their content and never change.

-- source_expect is called before a bundle's bytes are put into the object store: nobody deletes them for a day, whoever was
-- about to is waited for, and if they are never noted they go again. It answers the source if there is one.
create function otto.source_expect(digest text)
returns setof sources language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
begin
    update sources set idle_at = clock() where digest = source_expect.digest and idle_at < clock() - interval '1 hour';
    return query select * from sources where digest = source_expect.digest;
    if not found then
        insert into objects_gone (object, at) values (source_expect.digest, clock() + interval '1 day')
        on conflict (object) do update set at = excluded.at;
    end if;
end $$;

-- source_store notes a bundle whose bytes are in the object store. One that no run refers to lives for another day.
create function otto.source_store(digest text, bytes bigint, actor text)
returns setof sources language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
begin
    update sources set idle_at = clock() where digest = source_store.digest and idle_at < clock() - interval '1 hour';
    insert into sources (digest, bytes, created_by, created_at, idle_at)
    values (source_store.digest, source_store.bytes, actor, clock(), clock())
    on conflict (digest) do nothing;
    delete from objects_gone where object = source_store.digest;
    return query select * from sources where digest = source_store.digest;
end $$;

-- plan_store keeps a plan and its tasks. One that no run refers to lives for another day.
create function otto.plan_store(digest text, body json)
returns setof plans language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
begin
    update plans set idle_at = clock() where digest = plan_store.digest and idle_at < clock() - interval '1 hour';
    insert into plans (digest, name, body, created_at, idle_at)
    values (plan_store.digest, coalesce(plan_store.body ->> 'name', ''), plan_store.body, clock(), clock())
    on conflict (digest) do nothing;
    if found then
        insert into plan_tasks (plan_digest, stage_index, task_index, spec, requires, rules)
        select plan_store.digest, t.stage, t.task, t.spec, task_requires(t.spec), task_rules(t.spec, t.spec ->> 'name', names.needs)
          from plan_needs(plan_store.body) names(needs), plan_specs(plan_store.body) t;
        update plans p set rules = r.rules from plan_rules(plan_store.digest, plan_store.body) r(rules) where p.digest = plan_store.digest and r.rules is not null;
    end if;
    return query select * from plans where digest = plan_store.digest;
end $$;

-- task_requires adds to what a task requires that its agent understands it: an agent that does not know image, outputs, shell or
-- omitted (task-2), isolation or limits, container, services or fallback (task-3) would run another task than the plan says. Null
-- where the spec has none of them. Internal.
create function otto.task_requires(spec json) returns jsonb language plpgsql immutable as $$
declare requires jsonb := coalesce((spec -> 'requires')::jsonb, '{}'); known text[] := array_remove(array[
    case when num_nonnulls(spec -> 'isolation', spec -> 'limits') > 0 then 'isolation' end,
    case when num_nonnulls(spec -> 'container', spec -> 'services', spec -> 'fallback') > 0 then 'task-3' end], null);
begin
    if cardinality(known) > 0 then -- who knows one of these knows task-2
        return requires || jsonb_build_object('otto.protocol', to_jsonb('task-2'::text || known));
    end if;
    if spec -> 'image' is null and spec -> 'outputs' is null
       and not exists (select from json_array_elements(spec -> 'steps') s where s -> 'shell' is not null or s -> 'omitted' is not null)
       and not exists (select from json_array_elements(spec -> 'later') l where l ->> 'field' like '/steps/%/when') then
        return null;
    end if;
    return requires || '{"otto.protocol": "task-2"}';
end $$;

-- plan_specs are the tasks of a plan, each at its place. Internal.
create function otto.plan_specs(body json) returns table (stage int, task int, spec json) language plpgsql immutable as $$
begin
    return query select s.n::int - 1, t.n::int - 1, t.spec
      from json_array_elements(body -> 'stages') with ordinality s(stage, n), json_array_elements(s.stage -> 'tasks') with ordinality t(spec, n);
end $$;

-- plan_needs answers, where tasks have needs, {places: {name: [[stage, task], …]}, needed: {name: true}}; else null. Internal.
create function otto.plan_needs(body json) returns jsonb language plpgsql immutable as $$
begin
    perform from plan_specs(body) t where json_array_length(t.spec -> 'needs') > 0 limit 1;
    if not found then return null; end if;
    return jsonb_build_object(
        'places', (select jsonb_object_agg(p.name, p.places)
                     from (select t.spec ->> 'name' as name, jsonb_agg(jsonb_build_array(t.stage, t.task)) as places from plan_specs(body) t group by 1) p),
        'needed', (select jsonb_object_agg(distinct n.name, true) from plan_specs(body) t, json_array_elements_text(t.spec -> 'needs') n(name)));
end $$;

-- task_rules is what the state machine must know of a task's spec beside what each has; null for most. What the task needs is
-- kept by place. A need that no task of the plan has the name of is kept as unknown. Internal.
create function otto.task_rules(spec json, name text, needs jsonb) returns jsonb language plpgsql immutable as $$
declare own json := spec -> 'needs';
begin
    if nullif(spec ->> 'omitted', '') is not null then return jsonb_build_object('omitted', spec ->> 'omitted'); end if;
    return nullif(jsonb_strip_nulls(jsonb_build_object(
        'needs', case when json_typeof(own) = 'array' then (
            select coalesce(jsonb_agg(distinct p.place), '[]') from json_array_elements_text(own) n(name), jsonb_array_elements(needs -> 'places' -> n.name) p(place)
             where n.name <> task_rules.name) end,
        'unknown', case when json_typeof(own) = 'array' then (
            select min(n.name) from json_array_elements_text(own) n(name) where needs -> 'places' -> n.name is null) end,
        'needed', needs -> 'needed' -> name,
        'later', case when json_array_length(spec -> 'later') > 0 then true end,
        'concurrency', spec -> 'concurrency')), '{}');
end $$;

-- task_powers are what power over its agent's machine a task's container asks for. Internal.
create function otto.task_powers(spec json) returns text[] language plpgsql immutable as $$
declare c json := spec -> 'container';
begin
    if c is null then return '{}'; end if;
    return array_remove(array[case when (c ->> 'privileged')::boolean then 'privileged' end, case when (c ->> 'docker_socket')::boolean then 'docker_socket' end,
        case when (c ->> 'host_network')::boolean then 'host_network' end, case when json_array_length(c -> 'mounts') > 0 then 'host_mounts' end], null);
end $$;

-- plan_rules is what it must know of a whole plan: why runs of it do not start, which stages run on failure, and whether tasks
-- have rules. Null where there is none of it: then runs are laid out the short way. Internal.
create function otto.plan_rules(plan text, body json) returns jsonb language plpgsql stable as $$
begin
    return nullif(jsonb_strip_nulls(jsonb_build_object(
        'skips', case when body #>> '{trigger,starts}' = 'false' then
            coalesce((body #>> '{trigger,filter}') || ': ', '') || coalesce(nullif(body #>> '{trigger,reason}', ''), 'its event starts nothing') end,
        'asks', (select jsonb_agg(distinct w.power order by w.power) from plan_specs(body) t, unnest(task_powers(t.spec)) w(power)),
        'on_failure', (select jsonb_agg(s.n - 1) from json_array_elements(body -> 'stages') with ordinality s(stage, n) where (s.stage ->> 'on_failure')::boolean),
        'tasks', (select true from plan_tasks t where t.plan_digest = plan and t.rules is not null limit 1))), '{}');
end $$;
