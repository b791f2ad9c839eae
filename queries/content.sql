-- name: SourceExpect :many
-- SourceExpect announces that a bundle's bytes are about to be put into the object store, and answers what is known of it.
select * from otto.source_expect(@digest::text);

-- name: SourceStore :one
-- SourceStore notes a bundle whose bytes are in the object store.
select * from otto.source_store(@digest::text, @bytes::bigint, @actor::text);

-- name: SourceByDigest :one
-- SourceByDigest reads what is known of a bundle. One that may be deleted within twelve hours is not there any more: who is
-- told that it is has that long to make a run of it.
select * from sources s where digest = @digest::text
   and (s.idle_at is null or s.idle_at > otto.clock() - interval '12 hours' or exists (select from runs r where r.source_digest = s.digest));

-- name: PlanStore :one
-- PlanStore keeps a plan. The body's bytes are kept as they are.
select * from otto.plan_store(@digest::text, @body::json);

-- name: PlanByDigest :one
-- PlanByDigest reads a plan.
select * from plans where digest = @digest::text;

-- name: ProjectList :many
-- ProjectList pages projects by name.
select * from projects where name > @after::text order by name limit @at_most::int;

-- name: PlanNames :many
-- PlanNames reads the names of plans.
select digest, name from plans where digest = any(@digests::text[]);
