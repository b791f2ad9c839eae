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
        insert into plan_tasks (plan_digest, stage_index, task_index, spec, requires)
        select plan_store.digest, s.n - 1, t.n - 1, t.spec, task_requires(t.spec)
          from json_array_elements(plan_store.body -> 'stages') with ordinality s(stage, n),
               json_array_elements(s.stage -> 'tasks') with ordinality t(spec, n);
    end if;
    return query select * from plans where digest = plan_store.digest;
end $$;

-- task_requires adds to what a task requires that its agent understands it: an agent that does not know image, outputs, shell or
-- omitted would run another task than the plan says. Null where the spec has none of them. Internal.
create function otto.task_requires(spec json) returns jsonb language plpgsql immutable as $$
begin
    if spec -> 'image' is null and spec -> 'outputs' is null
       and not exists (select from json_array_elements(spec -> 'steps') s where s -> 'shell' is not null or s -> 'omitted' is not null)
       and not exists (select from json_array_elements(spec -> 'later') l where l ->> 'field' like '/steps/%/when') then
        return null;
    end if;
    return coalesce((spec -> 'requires')::jsonb, '{}') || '{"otto.protocol": "task-2"}';
end $$;
