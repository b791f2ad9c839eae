-- name: PoolCreate :one
-- PoolCreate makes a pool.
select * from otto.pool_create(@pool::text, @restricted::boolean, @actor::text);

-- name: PoolAllow :one
-- PoolAllow lets a project use a restricted pool.
select * from otto.pool_allow(@pool::text, @project::text, @actor::text);

-- name: PoolDeny :one
-- PoolDeny takes a restricted pool from a project.
select * from otto.pool_deny(@pool::text, @project::text, @actor::text);

-- name: PoolList :many
-- PoolList pages pools by name, with who may use them and what is in them; or one of them.
select sqlc.embed(p), array(select j.name from pool_projects a join projects j on j.id = a.project_id where a.pool = p.name order by j.name)::text[] as projects,
       (select count(*) from agents a where a.pool = p.name and a.state = 'online')::int as agents_online,
       (select count(*) from tasks t where t.pool = p.name and t.state = 'ready')::int as tasks_ready
  from pools p where p.name > @after::text and (@which::text = '' or p.name = @which::text)
 order by p.name limit @at_most::int;
