-- One commit of the engine in one round trip: a function call is its own transaction, so there is no BEGIN and no COMMIT
-- to wait for. Rows come as JSON: one parameter a table is cheaper for the client than ten arrays, and the plan is kept.
-- A function and not one statement of CTEs, because those share a snapshot: a claim that the same batch lets go and
-- takes again would collide with itself. All of them plpgsql: that keeps plans for the session, before PostgreSQL 18 a
-- function in SQL is planned at every call.

-- HD001: the log does not end where the writer believes. HD002: a claim is taken (detail: who holds it).
create function herder.append_record(
    p_shard integer, p_seq bigint, p_epoch bigint, p_at_ms bigint, p_body bytea, p_prev_hash bytea, p_hash bytea
) returns void language plpgsql as $$
begin
    -- The primary key alone is the fence between controllers. The predecessor is asked for besides because a store
    -- that failed over and lost its newest records would else get a hole in the log, found only at the next replay.
    if not exists (
        select from herder.log
        where shard = p_shard and seq = p_seq - 1 and hash = p_prev_hash and epoch <= p_epoch
    ) and exists (select from herder.log where shard = p_shard) then
        raise exception 'shard % does not end with the predecessor of record %', p_shard, p_seq using errcode = 'HD001';
    end if;
    insert into herder.log (shard, seq, epoch, at_ms, body, prev_hash, hash)
    values (p_shard, p_seq, p_epoch, p_at_ms, p_body, p_prev_hash, p_hash);
end $$;

create function herder.take_claims(p_shard integer, p_claims json) returns void language plpgsql as $$
declare
    refused record;
begin
    with wanted as (
        select kind, value, machine from json_to_recordset(p_claims) as (kind text, value text, machine bigint)
    ), taken as (
        insert into herder.claim (kind, value, shard, machine)
        -- In one order, so that two shards that want the same two names wait for each other and do not deadlock.
        select kind, value, p_shard, machine from wanted order by kind collate "C", value collate "C"
        on conflict (kind, value) do nothing
        returning kind, value
    )
    select kind, value into refused
    from (select kind, value from wanted except select kind, value from taken) as rest
    order by kind collate "C", value collate "C" limit 1;
    if found then
        -- The machine is null when the holder let go a moment ago: the client then tries again.
        raise exception '% % is taken', refused.kind, refused.value using
            errcode = 'HD002',
            detail = json_build_object('kind', refused.kind, 'value', refused.value, 'machine', (
                select machine from herder.claim where kind = refused.kind and value = refused.value
            ))::text;
    end if;
end $$;

create function herder.put_units(p_shard integer, p_units json) returns void language plpgsql as $$
begin
    insert into herder.unit as u
        (shard, machine, kind, name, service, state, version, since_ms, deadline_ms, data)
    select p_shard, r.machine, r.kind, r.name, r.service, r.state, r.version, r.since_ms, r.deadline_ms, r.data
    from json_to_recordset(p_units) as r(
        machine bigint, kind text, name text, service text, state text, version bigint, since_ms bigint,
        deadline_ms bigint, data jsonb
    )
    on conflict (shard, machine) do update set
        kind = excluded.kind, name = excluded.name, service = excluded.service, state = excluded.state,
        version = excluded.version, since_ms = excluded.since_ms, deadline_ms = excluded.deadline_ms,
        data = excluded.data;
end $$;

create function herder.put_history(p_shard integer, p_history json) returns void language plpgsql as $$
begin
    insert into herder.history
        (shard, seq, ordinal, at_ms, machine, kind, name, service, source, event, target, why, actor)
    select p_shard, r.seq, r.ordinal, r.at_ms, r.machine, r.kind, r.name, r.service, r.source, r.event, r.target,
           r.why, r.actor
    from json_to_recordset(p_history) as r(
        seq bigint, ordinal integer, at_ms bigint, machine bigint, kind text, name text, service text, source text,
        event text, target text, why text, actor text
    )
    -- A move is told once: a follower that projects a record again changes nothing.
    on conflict (shard, seq, ordinal) do nothing;
end $$;

-- The four JSON arguments are null when there is nothing of that sort.
create function herder.append(
    p_shard integer, p_seq bigint, p_epoch bigint, p_at_ms bigint, p_body bytea, p_prev_hash bytea, p_hash bytea,
    p_releases json, p_claims json, p_units json, p_history json
) returns void language plpgsql as $$
begin
    perform herder.append_record(p_shard, p_seq, p_epoch, p_at_ms, p_body, p_prev_hash, p_hash);
    if p_releases is not null then
        delete from herder.claim as c
        using json_to_recordset(p_releases) as r(kind text, value text)
        where c.kind = r.kind and c.value = r.value;
    end if;
    if p_claims is not null then
        perform herder.take_claims(p_shard, p_claims);
    end if;
    if p_units is not null then
        perform herder.put_units(p_shard, p_units);
    end if;
    if p_history is not null then
        perform herder.put_history(p_shard, p_history);
    end if;
end $$;
