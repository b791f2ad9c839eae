-- Logs: chunks while they are written, an object afterwards.

-- log_append takes the next chunk of a lease's log, and says which chunk is wanted next: a repeated one changes
-- nothing, one that comes too early is not taken. After the result of a task its log may still come.
create function otto.log_append(lease uuid, epoch int, agent bigint, seq int, bytes int, lines int, segments jsonb, data bytea)
returns int language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare l leases;
begin
    update leases
       set log_chunks = log_chunks + 1, log_bytes = log_bytes + log_append.bytes, log_lines = log_lines + lines,
           log_done_at = case when log_chunks + 1 >= log_want then clock() end
     where id = lease and epoch = log_append.epoch and agent_id = agent and log_chunks = seq and log_done_at is null
    returning * into l;
    if not found then return log_wanted(lease, epoch, agent, seq, data); end if;

    insert into log_chunks (lease_id, seq, at, first_byte, bytes, first_line, lines, segments, data)
    values (lease, seq, clock(), l.log_bytes - log_append.bytes, log_append.bytes, l.log_lines - lines, lines, segments, '');
    insert into log_parts (lease_id, seq, part, data)
    select lease, seq, n, substring(log_append.data from 8000 * n + 1 for 8000) from generate_series(0, (length(log_append.data) + 7999) / 8000 - 1) n;
    perform wake('log');
    return l.log_chunks;
end $$;

-- logs_append is log_append for chunks of many logs: an array, with the data in base64. It answers which chunk each log wants
-- next, and leaves out those that are not the next one, or refused, or whose lease somebody else holds: it never waits.
create function otto.logs_append(chunks jsonb)
returns table (lease uuid, next int) language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
begin
    if chunks = '[]' then return; end if;
    perform wake('log');
    return query
    with w as (
        select w.*, decode(w.data, 'base64') as bin
          from jsonb_to_recordset(chunks) w(lease uuid, epoch int, agent bigint, seq int, bytes int, lines int, segments jsonb, data text)
    ), h as (
        select l.id, w.seq from w join leases l on l.id = w.lease and l.epoch = w.epoch and l.agent_id = w.agent
         where l.log_chunks = w.seq and l.log_done_at is null for no key update of l skip locked
    ), u as (
        update leases l
           set log_chunks = l.log_chunks + 1, log_bytes = l.log_bytes + w.bytes, log_lines = l.log_lines + w.lines,
               log_done_at = case when l.log_chunks + 1 >= l.log_want then clock() end
          from h join w on w.lease = h.id and w.seq = h.seq where l.id = h.id and l.log_chunks = w.seq
        returning l.id, l.log_chunks, l.log_bytes, l.log_lines, w.seq, w.bytes, w.lines, w.segments, w.bin
    ), c as (
        insert into log_chunks (lease_id, seq, at, first_byte, bytes, first_line, lines, segments, data)
        select u.id, u.seq, clock(), u.log_bytes - u.bytes, u.bytes, u.log_lines - u.lines, u.lines, u.segments, '' from u
    ), p as (
        insert into log_parts (lease_id, seq, part, data)
        select u.id, u.seq, n, substring(u.bin from 8000 * n + 1 for 8000) from u, generate_series(0, (length(u.bin) + 7999) / 8000 - 1) n
    )
    select u.id, u.log_chunks from u;
end $$;

-- log_data puts the data of a chunk together. Chunks from before there were parts have them in their own row.
create function otto.log_data(lease uuid, seq int, own bytea)
returns bytea language plpgsql stable as $$
begin
    return own || coalesce((select string_agg(p.data, '' order by p.part) from public.log_parts p
                             where p.lease_id = lease and p.seq = log_data.seq), '');
end $$;

-- log_wanted answers a chunk that was not taken: with the number of the one that is wanted, or a refusal. Internal.
create function otto.log_wanted(lease uuid, epoch int, agent bigint, seq int, data bytea)
returns int language plpgsql as $$
#variable_conflict use_column
declare l leases;
begin
    select * into l from leases
     where id = lease and epoch = log_wanted.epoch and agent_id = agent and (end_reason is null or end_reason in ('finished', 'released'))
       and (log_done_at is null or seq < log_chunks);
    if not found then perform refuse_lease(lease, epoch, agent, 'append to its log'); end if;
    if exists (select from log_chunks c where c.lease_id = lease and c.seq = log_wanted.seq and log_data(lease, c.seq, c.data) <> log_wanted.data) then
        raise exception 'chunk % of the log of task % was sent before with other bytes', seq, l.task_id using errcode = 'OT409';
    end if;
    return l.log_chunks;
end $$;

-- log_compact: the object with the whole log takes the place of its chunks. The caller has read it back and verified it.
create function otto.log_compact(lease uuid, object text, index_at bigint)
returns setof leases language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare l leases;
begin
    update leases set log_object = object, log_index = index_at
     where id = lease and log_done_at is not null and log_object is null
    returning * into l;
    if not found then return; end if;
    delete from log_parts p where p.lease_id = lease;
    delete from log_chunks c where c.lease_id = lease;
    return next l;
end $$;

-- log_pack: an object will be written that many logs go into. Until they do it stands among those to be deleted: so it is not left
-- behind when its writer dies.
create function otto.log_pack(object text)
returns void language plpgsql security definer set search_path = public, otto, pg_temp as $$
begin
    insert into objects_gone (object, at) values (object, clock() + interval '1 hour');
end $$;

-- logs_compact is log_compact for many logs in one object, which log_pack has announced. Left out are those that have an object
-- already, and those that somebody else is moving: it never waits for them.
create function otto.logs_compact(logs uuid[], object text, index_at bigint)
returns setof leases language plpgsql security definer set search_path = public, otto, pg_temp as $$
declare moved uuid[];
begin
    delete from objects_gone g where g.object = logs_compact.object;
    if not found then raise exception 'object % has been given up: cannot compact logs into it', object using errcode = 'OT409'; end if;
    with free as (
        select l.id from leases l
         where l.id = any(logs) and l.log_done_at is not null and l.log_object is null for no key update of l skip locked
    ), u as (
        update leases l set log_object = object, log_index = index_at from free f where l.id = f.id returning l.id
    )
    select array_agg(u.id) into moved from u;
    if moved is null then
        insert into objects_gone (object, at) values (object, clock()); -- nothing went into it
        return;
    end if;
    insert into log_packs (object, logs) values (object, cardinality(moved));
    delete from log_parts p where p.lease_id = any(moved);
    delete from log_chunks c where c.lease_id = any(moved);
    return query select * from leases l where l.id = any(moved);
end $$;

-- log_give_up: a log whose agent does not send the rest is over as it is.
create function otto.log_give_up(actor text)
returns void language plpgsql as $$
declare c cluster; given uuid[];
begin
    select * into c from cluster;
    if c.judge_from > clock() or not servers_live() then return; end if;
    with u as (
        update leases l set log_done_at = clock()
         where l.log_object is null
           and l.ended_at is not null and l.log_done_at is null
           and greatest(l.ended_at, c.judge_from, (select max(k.at) from log_chunks k where k.lease_id = l.id)) + c.log_silence < clock()
        returning l.id
    )
    select array_agg(id) into given from u;
    perform emit('log.truncated', actor, l.run_id, l.task_id, l.epoch, data => jsonb_build_object('bytes', l.log_bytes, 'total', l.log_total))
       from leases l where l.id = any(given);
end $$;
