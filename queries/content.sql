-- name: SourceStore :one
-- SourceStore notes a bundle whose bytes are in the object store.
select * from otto.source_store(@digest::text, @bytes::bigint, @actor::text);

-- name: SourceByDigest :one
-- SourceByDigest reads what is known of a bundle.
select * from sources where digest = @digest::text;

-- name: PlanStore :one
-- PlanStore keeps a plan. The body's bytes are kept as they are.
select * from otto.plan_store(@digest::text, @body::json);

-- name: PlanByDigest :one
-- PlanByDigest reads a plan.
select * from plans where digest = @digest::text;

-- name: ProjectList :many
-- ProjectList pages projects by name.
select * from projects where name > @after::text order by name limit @at_most::int;
