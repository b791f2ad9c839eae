-- Requests that carry an idempotency key: the answer of the first is the answer of all.

-- request_begin notes a mutation that carries an idempotency key. A row with a status is the answer given before; with
-- another request's hash, the key was used for something else.
create function otto.request_begin(principal text, key text, request bytea)
returns setof idempotency language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
begin
    insert into idempotency (principal, key, request, created_at)
    values (request_begin.principal, request_begin.key, request_begin.request, clock())
    on conflict (principal, key) do nothing;
    return query select * from idempotency where principal = request_begin.principal and key = request_begin.key;
end $$;

-- request_end keeps the answer of a mutation, in its own transaction.
create function otto.request_end(principal text, key text, status int, answer bytea)
returns void language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
begin
    update idempotency set status = request_end.status, answer = request_end.answer
     where principal = request_end.principal and key = request_end.key;
end $$;

-- requests_begin is request_begin for many. It answers those that nobody has sent before; what somebody else is just doing, or
-- has done, is for request_begin.
create function otto.requests_begin(principals text[], keys text[], requests bytea[])
returns setof idempotency language plpgsql security definer set search_path = public, otto, pg_temp as $$
begin
    return query insert into idempotency (principal, key, request, created_at)
    select r.principal, r.key, r.request, clock() from unnest(principals, keys, requests) r(principal, key, request) order by 1, 2
    on conflict do nothing
    returning *;
end $$;

-- requests_end is request_end for many.
create function otto.requests_end(principals text[], keys text[], status int, answers bytea[])
returns void language plpgsql security definer set search_path = public, otto, pg_temp as $$
begin
    update idempotency i set status = requests_end.status, answer = r.answer
      from unnest(principals, keys, answers) r(principal, key, answer) where i.principal = r.principal and i.key = r.key;
end $$;
