-- The projection for millions: at most 200 bytes a machine, written in sets, and built anew beside the one that is read.

-- Kinds and states by number: a row of a million needs no words of its own.
create table herder.word (
    code  smallint generated always as identity primary key,
    word  text not null check (word <> ''),
    constraint word_word unique (word)
);

-- How far each shard's projection is. epoch: of the controller that wrote it last; an older one is refused. generation:
-- the rows that people see; building: those of a rebuild that is under way. Every unit is as it was at record seq or
-- later; every move up to history_seq is in the history. Rewritten at every commit: room on its page, and nothing indexed.
create table herder.projection (
    shard        smallint primary key check (shard >= 0),
    epoch        bigint   not null,
    generation   smallint not null default 0,
    building     smallint,
    seq          bigint   not null,
    history_seq  bigint   not null,
    at_ms        bigint   not null
) with (fillfactor = 10, autovacuum_vacuum_threshold = 1000);
insert into herder.projection (shard, epoch, seq, history_seq, at_ms)
select shard, epoch, seq, seq, at_ms from (select distinct on (shard) * from herder.log order by shard, seq desc) as last;

alter table herder.unit rename to unit_before;
alter table herder.unit_before rename constraint unit_pkey to unit_before_pkey;

-- One row a machine, wide columns first so that nothing is lost between them. null: what follows from the rest (a name
-- that is kind-id, a machine that knows nothing of its own). Fillfactor 45 leaves room for every row of a page once more:
-- a bulk move of all of them in one transaction is HOT throughout (measured: 195 bytes a machine with its key, for good;
-- at 70 a third of the rows leaves the page, and the key doubles). No column that moves is indexed, for the same reason.
create table herder.unit (
    since_ms     bigint   not null,
    deadline_ms  bigint   not null,
    version      integer  not null check (version >= 0),
    machine      integer  not null,
    service_id   integer  not null,
    shard        smallint not null check (shard >= 0),
    generation   smallint not null,
    kind         smallint not null,
    state        smallint not null,
    name         text,
    service      text,
    data         jsonb check (jsonb_typeof(data) = 'object'),
    constraint unit_pkey primary key (shard, generation, machine)
) with (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.05);

insert into herder.word (word) select kind from herder.unit_before union select state from herder.unit_before;
insert into herder.unit
    (since_ms, deadline_ms, version, machine, service_id, shard, generation, kind, state, name, service, data)
select since_ms, deadline_ms, version, machine, 0, shard, 0, k.code, s.code, nullif(name, kind || '-' || machine),
       nullif(service, ''), nullif(data, '{}')
from herder.unit_before join herder.word as k on k.word = kind join herder.word as s on s.word = state;
drop table herder.unit_before;

-- What people query.
create view herder.units as
select u.shard, u.machine, k.word as kind, coalesce(u.name, k.word || '-' || u.machine) as name,
       coalesce(u.service, case when u.service_id <> 0 then 'service-' || u.service_id else '' end) as service,
       s.word as state, u.version, u.since_ms, u.deadline_ms, coalesce(u.data, '{}') as data, u.service_id
from herder.unit as u
join herder.projection as p on p.shard = u.shard and p.generation = u.generation
join herder.word as k on k.code = u.kind
join herder.word as s on s.code = u.state;

create function herder.add_words(p_words text[]) returns void language sql as $$
    insert into herder.word (word)
    select distinct wanted from unnest(p_words) as wanted where wanted not in (select word from herder.word)
    on conflict (word) do nothing;
$$;

create or replace function herder.put_units(p_shard integer, p_units json) returns void language plpgsql as $$
declare
    put integer;
begin
    for attempt in 1..2 loop
        insert into herder.unit as u
            (since_ms, deadline_ms, version, machine, service_id, shard, generation, kind, state, name, service, data)
        select r.since_ms, r.deadline_ms, r.version, r.machine, coalesce(r.service_id, 0), p.shard, p.generation, k.code,
               s.code, nullif(r.name, r.kind || '-' || r.machine),
               nullif(nullif(r.service, ''), 'service-' || coalesce(r.service_id, 0)), nullif(r.data, '{}')
        from json_to_recordset(p_units) as r(
            machine integer, kind text, name text, service text, state text, version integer, since_ms bigint,
            deadline_ms bigint, data jsonb, service_id integer
        )
        join herder.projection as p on p.shard = p_shard
        join herder.word as k on k.word = r.kind
        join herder.word as s on s.word = r.state
        on conflict (shard, generation, machine) do update set
            since_ms = excluded.since_ms, deadline_ms = excluded.deadline_ms, version = excluded.version,
            service_id = excluded.service_id, kind = excluded.kind, state = excluded.state, name = excluded.name,
            service = excluded.service, data = excluded.data;
        get diagnostics put = row_count;
        exit when put = json_array_length(p_units);
        -- Rare: a kind or a state that was never seen.
        perform herder.add_words(array(
            select w from json_to_recordset(p_units) as r(kind text, state text), unnest(array[r.kind, r.state]) as w
        ));
    end loop;
end $$;

create function herder.mark_projection(p_shard integer, p_epoch bigint, p_seq bigint, p_at_ms bigint) returns void
language plpgsql as $$
begin
    update herder.projection set epoch = p_epoch, seq = p_seq, history_seq = p_seq, at_ms = p_at_ms where shard = p_shard;
    if not found then
        insert into herder.projection (shard, epoch, seq, history_seq, at_ms)
        values (p_shard, p_epoch, p_seq, p_seq, p_at_ms);
    end if;
end $$;

drop function herder.append(
    integer, bigint, bigint, bigint, bytea, bytea, bytea, json, json, json, json
);
-- p_projected: the record's rows come with it; else they follow.
create function herder.append(
    p_shard integer, p_seq bigint, p_epoch bigint, p_at_ms bigint, p_body bytea, p_prev_hash bytea, p_hash bytea,
    p_releases json, p_claims json, p_units json, p_history json, p_projected boolean
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
    if p_projected then
        perform herder.mark_projection(p_shard, p_epoch, p_seq, p_at_ms);
    end if;
    if p_units is not null then
        perform herder.put_units(p_shard, p_units);
    end if;
    if p_history is not null then
        perform herder.put_history(p_shard, p_history);
    end if;
end $$;

-- A snapshot of millions is hundreds of megabytes: kept in parts, and there once its row is, which comes last.
create table herder.snapshot_part (
    shard  integer not null check (shard >= 0),
    seq    bigint  not null check (seq >= 0),
    part   integer not null check (part >= 0),
    body   bytea   not null,
    constraint snapshot_part_pkey primary key (shard, seq, part)
);
alter table herder.snapshot_part alter column body set storage external;
insert into herder.snapshot_part (shard, seq, part, body) select shard, seq, 0, body from herder.snapshot;
-- digest: sha-256 of the whole. record_hash: of the record at seq, empty when it was not said: where the hash chain goes on
-- when the records before it are dropped.
alter table herder.snapshot
    add column parts integer not null default 1 check (parts >= 0),
    add column digest bytea,
    add column record_hash bytea not null default '';
update herder.snapshot set digest = sha256(body);
alter table herder.snapshot alter column digest set not null, alter column parts drop default, drop column body;
