-- name: AgentEnrol :one
-- AgentEnrol uses an enrolment token up and makes an agent with a credential of its own.
select * from otto.agent_enrol(@enrol::bigint, @hash::bytea, @name::text, @version::text, @capacity::int, @offers::jsonb, @actor::text);

-- name: AgentHello :one
-- AgentHello says that the agent program has started.
select * from otto.agent_hello(@agent::bigint, @name::text, @version::text, @capacity::int, @offers::jsonb, @actor::text);

-- name: AgentOffer :one
-- AgentOffer says what an agent offers now, while it works.
select * from otto.agent_offer(@agent::bigint, @offers::jsonb, @actor::text);

-- name: AgentBye :one
-- AgentBye says that the agent program ends.
select * from otto.agent_bye(@agent::bigint, @actor::text);

-- name: AgentDisable :one
-- AgentDisable takes an agent out of service, or lets it back.
select * from otto.agent_disable(@agent::bigint, @disabled::boolean, @actor::text);

-- name: AgentByID :one
-- AgentByID reads an agent and the number of its leases.
select sqlc.embed(a), (select count(*) from leases l where l.agent_id = a.id and l.ended_at is null)::int as busy from agents a where a.id = @agent::bigint;

-- name: AgentList :many
-- AgentList pages agents by number: those that offer what is required, by the rule that hands out tasks.
select sqlc.embed(a), (select count(*) from leases l where l.agent_id = a.id and l.ended_at is null)::int as busy from agents a
 where a.id > @after::bigint and (@state::text = '' or a.state = @state::text) and otto.fits(@requires::jsonb, a.offers)
 order by a.id limit @at_most::int;

-- name: TokenCreate :one
-- TokenCreate stores a credential's hash.
select * from otto.token_create(@hash::bytea, @kind::text, @role::text, @name::text, sqlc.narg('expires_at')::timestamptz, @actor::text, sqlc.narg('pool')::text);

-- name: TokenRevoke :one
-- TokenRevoke ends a credential.
select * from otto.token_revoke(@token::bigint, @actor::text);

-- name: TokenList :many
-- TokenList pages credentials by number.
select * from tokens where id > @after::bigint order by id limit @at_most::int;

-- name: TokensUse :many
-- TokensUse notes that credentials were used; it answers those that are good.
select u::bigint as token from otto.tokens_use(@used::bigint[]) u;
