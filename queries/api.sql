-- name: TokenCheck :many
-- TokenCheck finds a credential by its hash and notes its use; no row: there is none.
select t.id, t.kind, t.role, t.name, coalesce(t.agent_id, 0)::bigint as agent, coalesce(a.name, '')::text as agent_name, coalesce(t.orchestrator_id, 0)::bigint as orchestrator, t.expires_at,
       coalesce(extract(epoch from t.expires_at - otto.clock()), 0)::float8 as seconds_left,
       (t.revoked_at is not null)::boolean as revoked, coalesce(t.expires_at <= otto.clock(), false)::boolean as expired
  from otto.token_use(@hash::bytea) t left join agents a on a.id = t.agent_id;

-- name: RunLatest :one
-- RunLatest is the number of the newest run.
select id from runs order by id desc limit 1;

-- name: WorkExists :one
-- WorkExists says whether there is anything at all that a look for waiting agents could find, now or when a delay is over.
select (exists (select from tasks t where t.state = 'ready') or exists (select from leases l where l.ended_at is null))::boolean as is;

-- name: AgentsWaiting :many
-- AgentsWaiting is what the dispatcher must know of the agents that ask for work: how much room each has, whether there are orders
-- about its leases, or grants that it has not started, and whether any task is ready at all. Agents of one kind offer the same.
-- Those for whom there is nothing are left out. Who was silent for a lease time has no room: a request that is held is no sign of
-- life, and what such an agent has just lost would go to it again.
select a.id, jsonb_hash_extended(a.offers, hashtextextended(a.pool, 0))::bigint as kind, (case when a.state = 'online' and a.seen_at > otto.clock() - c.lease_ttl then a.capacity - l.held else 0 end)::int as room,
       l.ordered, l.unstarted, w.work
  from (select exists (select from tasks t where t.state = 'ready' and t.ready_at <= otto.clock())::boolean as work) w,
       cluster c, agents a,
       lateral (select count(*)::int as held, coalesce(bool_or(l.abort_at is not null), false)::boolean as ordered,
                       coalesce(bool_or(l.started_at is null), false)::boolean as unstarted
                  from leases l where l.agent_id = a.id and l.ended_at is null) l
 where a.id = any(@agents::bigint[]) and (w.work or l.ordered or l.unstarted) order by a.id;

-- name: AgentsAlike :many
-- AgentsAlike groups agents that can take the same of the tasks that are ready; those that can take none are left out.
select agents::bigint[] as agents from otto.agents_alike(@agents::bigint[]);

-- name: LeasesUnstarted :many
-- LeasesUnstarted lists what the agents were granted and have not begun. Settled are those granted a while ago: their
-- answer is not on its way any more.
select l.id, l.agent_id, (l.granted_at < otto.clock() - interval '2 seconds')::boolean as settled
  from leases l where l.agent_id = any(@agents::bigint[]) and l.ended_at is null and l.started_at is null order by l.granted_at, l.id;

-- name: LogSeek :one
-- LogSeek finds the chunk with a byte; or, if line is not negative, the chunk with the line end before that line.
select coalesce(max(c.seq), 0)::int as seq from log_chunks c
 where c.lease_id = @lease::uuid
   and case when @line::bigint >= 0 then c.first_line < @line::bigint else c.first_byte <= @byte::bigint end;

-- name: RunCompleted :many
-- RunCompleted finds the event that ends a run's history; none while the run works, or when it is too old to be kept.
select e.tx, e.id from events e where e.run_id = @run::bigint and e.kind = 'run.completed' order by e.tx desc, e.id desc limit 1;
