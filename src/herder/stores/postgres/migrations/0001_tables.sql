-- The log, the leases of its shards, and the projection that follows it.
-- Identifiers that people choose are checked in the domain; here stand the invariants that no bug may break.

create table herder.lease (
    shard  integer primary key check (shard >= 0),
    owner  text not null check (owner <> ''),
    epoch  bigint not null check (epoch > 0),
    until  timestamptz not null
);

create table herder.log (
    shard      integer not null check (shard >= 0),
    seq        bigint  not null check (seq > 0),
    epoch      bigint  not null check (epoch > 0),
    at_ms      bigint  not null check (at_ms >= 0),
    body       bytea   not null,
    prev_hash  bytea   not null check (octet_length(prev_hash) = 32),
    hash       bytea   not null check (octet_length(hash) = 32),
    constraint log_pkey primary key (shard, seq)
);
-- EXTERNAL: compressing a packed record costs more CPU than the bytes it saves cost the disk.
alter table herder.log alter column body set storage external;

create table herder.snapshot (
    shard    integer not null check (shard >= 0),
    seq      bigint  not null check (seq >= 0),
    body     bytea   not null,
    made_at  timestamptz not null default clock_timestamp(),
    primary key (shard, seq)
);
alter table herder.snapshot alter column body set storage external;

-- One row a machine, rewritten at every move. Fillfactor 70 leaves room on the page for the new version, and no column
-- that moves (state, version, since_ms, deadline_ms, data) is indexed: so every move is a HOT update, which touches no
-- index and is pruned without vacuum. An index on state or deadline was measured at 27-37 % of the throughput.
create table herder.unit (
    shard        integer not null check (shard >= 0),
    machine      bigint  not null,
    kind         text    not null check (kind <> ''),
    name         text    not null,
    service      text    not null,
    state        text    not null check (state <> ''),
    version      bigint  not null check (version >= 0),
    since_ms     bigint  not null,
    deadline_ms  bigint  not null,
    data         jsonb   not null check (jsonb_typeof(data) = 'object'),
    constraint unit_pkey primary key (shard, machine)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
create index unit_service on herder.unit (service);

create table herder.history (
    shard    integer not null check (shard >= 0),
    seq      bigint  not null check (seq > 0),
    ordinal  integer not null check (ordinal >= 0),
    at_ms    bigint  not null,
    machine  bigint  not null,
    kind     text    not null,
    name     text    not null,
    service  text    not null,
    source   text    not null,
    event    text    not null,
    target   text    not null,
    why      text    not null,
    actor    text    not null,
    constraint history_pkey primary key (shard, seq, ordinal)
);
-- Both grow at their right edge only (time goes up), so an insert stays on a page that is in memory.
create index history_time on herder.history (at_ms, shard, seq, ordinal);
create index history_service on herder.history (service, at_ms, shard, seq, ordinal);

create table herder.claim (
    kind     text    not null check (kind <> ''),
    value    text    not null,
    shard    integer not null check (shard >= 0),
    machine  bigint  not null,
    constraint claim_pkey primary key (kind, value)
);

create table herder.secret (
    name   text primary key check (name <> ''),
    value  text not null
);

create table herder.join_token (
    token_hash   text primary key check (token_hash <> ''),
    server       text not null check (server <> ''),
    incarnation  bigint not null check (incarnation >= 0),
    made_at      timestamptz not null default clock_timestamp(),
    used_at      timestamptz
);
create unique index join_token_unused on herder.join_token (server) where used_at is null;
