-- Awards: the right to start an agent for a task, until a deadline. living → started, late, returned, lost, unfit, aborted. The task stays
-- with the auction: the next living bid wins it without a new round.

-- award_take makes a token with which the agent enrols that the orchestrator starts for an award. Taken again, before an agent has
-- come, it makes a new one, and the one before is worth nothing.
create function otto.award_take(award uuid, orchestrator bigint, hash bytea, actor text)
returns setof awards language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare w awards; again boolean;
begin
    select * into w from awards where id = award and orchestrator_id = orchestrator and ended_at is null and agent_id is null and start_by > clock() for no key update;
    if not found then perform refuse_award(award, orchestrator, 'take'); end if;
    again := w.taken_at is not null;
    perform tokens_void(array[award]);
    insert into tokens (hash, kind, role, name, created_by, created_at, expires_at, orchestrator_id, template_id, award_id)
    values (award_take.hash, 'enrol', 'enrol', 'agent for task ' || w.task_id, actor, clock(), w.start_by, orchestrator, w.template_id, award);
    update awards set taken_at = coalesce(taken_at, clock()) where id = award returning * into w;

    if not again then perform emit('award.taken', actor, w.run_id, w.task_id, data => jsonb_build_object('award', award)); end if;
    return next w;
end $$;

-- tokens_void makes the tokens worthless that no agent has used yet. Internal.
create function otto.tokens_void(awards uuid[])
returns void language plpgsql as $$
begin
    update tokens set revoked_at = clock() where award_id = any(tokens_void.awards) and used_at is null and revoked_at is null;
end $$;

-- refuse_award says why an award transition did not apply.
create function otto.refuse_award(award uuid, orchestrator bigint, verb text) returns void language plpgsql as $$
declare w public.awards;
begin
    select * into w from public.awards a where a.id = award;
    if not found then
        raise exception 'award % does not exist', award using errcode = 'OT404';
    end if;
    if w.orchestrator_id <> orchestrator then
        raise exception 'award % belongs to another orchestrator: cannot %', award, verb using errcode = 'OT403';
    end if;
    raise exception 'award % %: cannot %', award, case
        when w.ended_at is not null then 'is over (' || w.end_reason || ')'
        when w.agent_id is not null then 'has its agent'
        when w.start_by <= otto.clock() then 'is late' else 'is not late' end, verb using errcode = 'OT409';
end $$;

-- award_return: living → returned, by the orchestrator that cannot start an agent after all. Repeating it changes nothing.
create function otto.award_return(award uuid, orchestrator bigint, reason text, actor text)
returns setof awards language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare w awards;
begin
    perform lock_run(x.run_id) from awards x where x.id = award;
    select * into w from awards where id = award and orchestrator_id = orchestrator and ended_at is null for no key update;
    if not found then
        return query select * from awards where id = award and orchestrator_id = orchestrator and end_reason = 'returned';
        if not found then perform refuse_award(award, orchestrator, 'give back'); end if;
        return;
    end if;
    perform award_revoke(w, 'returned', reason, actor);
    return query select * from awards where id = award;
end $$;

-- award_is_over says why a living award is to be taken away; null: it is not.
create function otto.award_is_over(w awards) returns text language plpgsql stable as $$
begin
    return case when w.start_by <= clock() then 'late'
                when exists (select from orchestrators o where o.id = w.orchestrator_id and o.state = 'disabled') then 'lost' end;
end $$;

-- award_expire: living → late, when its agent has not said hello in time; → lost, with its orchestrator.
create function otto.award_expire(award uuid, actor text)
returns setof awards language plpgsql security definer set search_path = public, otto, pg_temp as $$
#variable_conflict use_column
declare w awards;
begin
    perform lock_run(x.run_id) from awards x where x.id = award;
    select * into w from awards where id = award and ended_at is null for no key update;
    if not found or award_is_over(w) is null then perform refuse_award(award, (select orchestrator_id from awards where id = award), 'expire'); end if;
    perform award_revoke(w, award_is_over(w), null, actor);
    return query select * from awards where id = award;
end $$;

-- award_revoke ends an award that came to nothing. The next living bid wins the task; else the task is ready again, and a new round may
-- come. The attempt has not begun, so it does not count. Internal, under the run's lock.
create function otto.award_revoke(w awards, why text, said text, actor text)
returns void language plpgsql as $$
declare t tasks; news new_event[]; again new_event[];
begin
    update awards set ended_at = clock(), end_reason = why where id = w.id;
    update bids set state = 'revoked' where id = w.bid_id;
    perform tokens_void(array[w.id]);
    select * into t from tasks where award_id = w.id for no key update;
    news := row('award.revoked', false, actor, t.run_id, t.stage_id, t.id, null, null, jsonb_build_object('award', w.id, 'bid', w.bid_id,
                'orchestrator', (select name from orchestrators where id = w.orchestrator_id), 'reason', why, 'said', said))::new_event
        || orchestrator_suspend(w.orchestrator_id, actor);
    again := task_award(t.id, w.auction_id, (select name from orchestrators where id = w.orchestrator_id) || ' (' || why || ')', actor);
    if cardinality(again) = 0 then
        update tasks set state = 'ready', award_id = null, reason = why where id = t.id;
        update auction_tasks l set again_at = clock() + backoff(l.round) where l.task_id = t.id and l.auction_id = w.auction_id;
        again := array[row('task.requeued', false, actor, t.run_id, t.stage_id, t.id, null, null, jsonb_build_object('reason', why))::new_event];
        perform wake('ready');
    end if;

    perform emit(news || again);
    perform wake('auction');
end $$;

-- orchestrator_suspend keeps a bidder from bidding for 15 minutes, if three of its awards have come to nothing within an hour. Internal.
create function otto.orchestrator_suspend(orchestrator bigint, actor text)
returns otto.new_event[] language plpgsql as $$
declare o orchestrators;
begin
    update orchestrators x set suspended_until = clock() + interval '15 minutes'
     where x.id = orchestrator and coalesce(x.suspended_until, '-infinity') <= clock()
       and 3 <= (select count(*) from awards w where w.orchestrator_id = x.id and w.end_reason in ('late', 'returned', 'lost', 'unfit')
                    and w.ended_at > clock() - interval '1 hour' and w.ended_at > coalesce(x.suspended_until, '-infinity'))
    returning * into o;
    if not found then return '{}'; end if;
    return array[row('orchestrator.suspended', false, actor, null, null, null, null, null,
                     jsonb_build_object('orchestrator', o.id, 'name', o.name, 'until', o.suspended_until))::new_event];
end $$;

-- award_start: living → started, and its task provisioning → scheduled, when the agent that was started for it says hello. An agent that does
-- not fit after all gets nothing, and the award is over. Internal.
create function otto.award_start(agent bigint, actor text)
returns void language plpgsql as $$
declare w awards; t tasks; a agents;
begin
    perform lock_run(x.run_id) from awards x where x.agent_id = agent and x.ended_at is null;
    if not found then return; end if;
    select x.* into w from awards x where x.agent_id = agent and x.ended_at is null for no key update;
    if not found then return; end if;
    select x.* into a from agents x where x.id = agent;
    select x.* into t from tasks x where x.award_id = w.id for no key update;
    if not fits(t.requires, a.offers) then
        perform award_revoke(w, 'unfit', 'agent ' || a.name || ' does not offer ' || requires_text(t.requires), actor);
        return;
    end if;
    update tasks set state = 'scheduled', epoch = epoch + 1, lease_id = gen_random_uuid(), award_id = null, reason = null, exit_code = null where id = t.id returning * into t;
    insert into leases (id, task_id, run_id, agent_id, epoch, granted_at, start_by, expires_at, cores, memory)
    select t.lease_id, t.id, t.run_id, agent, t.epoch, clock(), clock() + c.start_within, clock() + c.lease_ttl, v.cores, v.memory from cluster c, reserves(t.requires) v;
    update awards set ended_at = clock(), end_reason = 'started', lease_id = t.lease_id where id = w.id;
    perform steps_lay_out(array[t.lease_id]);

    perform emit(array[
        row('award.started', false, actor, t.run_id, t.stage_id, t.id, t.epoch, null, jsonb_build_object('award', w.id, 'agent', a.name))::new_event,
        row('task.scheduled', false, actor, t.run_id, t.stage_id, t.id, t.epoch, null, jsonb_build_object('agent', a.name, 'agent_id', a.id))::new_event]);
    perform wake('auction');
end $$;

-- awards_abort: living → aborted, for tasks that are stopped while their agents are being started. Internal, under the run's lock.
create function otto.awards_abort(tasks bigint[], actor text)
returns otto.new_event[] language plpgsql as $$
declare news new_event[]; over uuid[];
begin
    with u as (
        update awards w set ended_at = clock(), end_reason = 'aborted' where w.task_id = any(awards_abort.tasks) and w.ended_at is null returning w.*
    )
    select array_agg(row('award.aborted', false, actor, u.run_id, null, u.task_id, null, null, jsonb_build_object('award', u.id))::new_event order by u.task_id), array_agg(u.id)
      into news, over from u;
    if over is null then return '{}'; end if;
    perform tokens_void(over);
    perform wake('auction');
    return news;
end $$;
