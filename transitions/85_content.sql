-- What runs are made of: sources and plans. Both are named by their content and never change.

-- source_store notes a bundle whose bytes are in the object store.
create function otto.source_store(digest text, bytes bigint, actor text)
returns setof sources language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
begin
    insert into sources (digest, bytes, created_by, created_at) values (source_store.digest, source_store.bytes, actor, clock())
    on conflict (digest) do nothing;
    return query select * from sources where digest = source_store.digest;
end $$;

-- plan_store keeps a plan and its tasks.
create function otto.plan_store(digest text, body json)
returns setof plans language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
begin
    insert into plans (digest, name, body, created_at) values (plan_store.digest, coalesce(plan_store.body ->> 'name', ''), plan_store.body, clock())
    on conflict (digest) do nothing;
    if found then
        insert into plan_tasks (plan_digest, stage_index, task_index, spec)
        select plan_store.digest, s.n - 1, t.n - 1, t.spec
          from json_array_elements(plan_store.body -> 'stages') with ordinality s(stage, n),
               json_array_elements(s.stage -> 'tasks') with ordinality t(spec, n);
    end if;
    return query select * from plans where digest = plan_store.digest;
end $$;
