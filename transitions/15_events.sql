-- Reading events in commit order.

-- event_horizon is a transaction id below which every transaction of this database has ended, and those after it that
-- a later snapshot sees are complete. The snapshot's own xmin would do, but it counts the whole cluster: a long
-- transaction in another database would hold all streams back.
create function otto.event_horizon() returns bigint language plpgsql as $$
declare top bigint := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
begin
    -- The order matters: first the top, then who is still at work below it. Who ends in between is seen by the reader.
    -- An id has 32 bits here. One that lies far above the top is of the turn before; one just above it began after the newest to end.
    return (select least(top, min(case when x.low > top + (1::bigint << 31) then x.low - (1::bigint << 32) else x.low end))
              from (select ((top >> 32) << 32) + a.backend_xid::text::bigint as low
                      from pg_stat_get_activity(null) a
                     where a.backend_xid is not null and a.datid = (select d.oid from pg_database d where d.datname = current_database())) x);
end $$;

-- events_after pages events by (tx, id), of one run or of all (null), up to the horizon; so a reader that remembers where
-- it was skips none, though transactions commit in any order.
create function otto.events_after(run bigint, tx bigint, id bigint, at_most int)
returns setof events language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare horizon bigint := event_horizon();
begin
    if run is null then
        return query select * from events e where (e.tx, e.id) > (events_after.tx, events_after.id) and e.tx < horizon
          order by e.tx, e.id limit at_most;
    else
        return query select * from events e where e.run_id = run and (e.tx, e.id) > (events_after.tx, events_after.id) and e.tx < horizon
          order by e.tx, e.id limit at_most;
    end if;
end $$;
