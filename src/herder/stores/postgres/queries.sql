-- Every statement of the PostgreSQL store, by name. Parameters are $1, $2, ... in the order that the comment gives.

-- name: bootstrap
create schema if not exists herder;
create table if not exists herder.schema_version (
    version     integer primary key check (version > 0),
    name        text not null,
    checksum    text not null,
    applied_at  timestamptz not null default clock_timestamp()
);

-- name: migration_lock
-- 'herder' in ASCII: two starters take turns; let go at the end of the transaction.
select pg_advisory_xact_lock(114784820028786);

-- name: has_schema
select to_regclass('herder.schema_version') is not null;

-- name: applied_migrations
select version, name, checksum from herder.schema_version order by version;

-- name: record_migration
-- version, name, checksum
insert into herder.schema_version (version, name, checksum) values ($1, $2, $3);

-- name: ensure_durable
-- A server whose default is off acknowledges commits that a crash takes back; any other level is the owner's choice.
select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off';

-- name: take_your_time
-- Of this transaction: a migration or a rebuild may take minutes.
set local statement_timeout = 0;

-- name: append
-- shard, seq, epoch, at_ms, body, prev_hash, hash, releases, claims, units, history
select herder.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: append_record
-- shard, seq, epoch, at_ms, body, prev_hash, hash
select herder.append_record($1, $2, $3, $4, $5, $6, $7);

-- name: make_lease
-- shard, owner. A lease that has run out already, so that there is a row to lock.
insert into herder.lease (shard, owner, epoch, until) values ($1, $2, 1, to_timestamp(0)) on conflict (shard) do nothing;

-- name: lock_lease
-- shard
select owner, epoch, extract(epoch from until - clock_timestamp())::float8 as left_s, until = to_timestamp(0) as fresh
from herder.lease where shard = $1 for update;

-- name: take_lease
-- shard, owner, epoch, seconds
update herder.lease set owner = $2, epoch = $3, until = clock_timestamp() + make_interval(secs => $4) where shard = $1;

-- name: renew_lease
-- shard, owner, epoch, seconds
update herder.lease set until = clock_timestamp() + make_interval(secs => $4)
where shard = $1 and owner = $2 and epoch = $3
returning true;

-- name: last_record
-- shard
select shard, seq, epoch, at_ms, body, prev_hash, hash from herder.log where shard = $1 order by seq desc limit 1;

-- name: read_record
-- shard, seq
select shard, seq, epoch, at_ms, body, prev_hash, hash from herder.log where shard = $1 and seq = $2;

-- name: tail
-- shard, after_seq, limit
select shard, seq, epoch, at_ms, body, prev_hash, hash from herder.log
where shard = $1 and seq > $2 order by seq limit $3;

-- name: save_snapshot
-- shard, seq, body
insert into herder.snapshot (shard, seq, body) values ($1, $2, $3)
on conflict (shard, seq) do update set body = excluded.body, made_at = excluded.made_at;

-- name: drop_old_snapshots
-- shard. The newest two stay: should the newest not be readable, the one before and a longer tail still are.
delete from herder.snapshot where shard = $1 and seq not in (
    select seq from herder.snapshot where shard = $1 order by seq desc limit 2
);

-- name: latest_snapshot
-- shard
select seq, body from herder.snapshot where shard = $1 order by seq desc limit 1;

-- name: delete_units
-- shard
delete from herder.unit where shard = $1;

-- name: delete_history
-- shard
delete from herder.history where shard = $1;

-- name: units
-- service or '', kind or ''
select machine, kind, name, service, state, version, since_ms, deadline_ms, data::text as data from herder.unit
where ($1 = '' or service = $1) and ($2 = '' or kind = $2) order by shard, machine;

-- name: history
-- kind or '', limit
select seq, ordinal, at_ms, machine, kind, name, service, source, event, target, why, actor from (
    select * from herder.history where $1 = '' or kind = $1
    order by at_ms desc, shard desc, seq desc, ordinal desc limit $2
) as newest order by at_ms, shard, seq, ordinal;

-- name: history_of_service
-- kind or '', limit, service
select seq, ordinal, at_ms, machine, kind, name, service, source, event, target, why, actor from (
    select * from herder.history where service = $3 and ($1 = '' or kind = $1)
    order by at_ms desc, shard desc, seq desc, ordinal desc limit $2
) as newest order by at_ms, shard, seq, ordinal;

-- name: playbook_runs
-- since_ms, kinds of playbooks, their final states, the actor of exercises
-- One pass over the period's moves, and everything is counted here: a large history sends a dozen rows. Grouped, not
-- joined: a join of what came of the pass is planned without statistics, as nested loops.
with moves as materialized (
    select shard, seq, seq * 1000000 + ordinal as place, at_ms, machine, kind, service, source, event, target, actor
    from herder.history
    where at_ms >= $1 and machine <> 0  -- 0: a line for many machines
      and (kind = any($2) or (kind = 'page' and event in ('create', 'again'))
           or (kind = 'service' and event in ('exercise_began', 'exercise_ended', 'exercise_failed')))
), told as (
    -- was an exercise of its service under way at this move?
    select *, coalesce(max(place) filter (where event = 'exercise_began') over log, 0)
              > coalesce(max(place) filter (where event in ('exercise_ended', 'exercise_failed')) over log, 0) as exercising
    from moves window log as (partition by shard, service order by place)
), run as (
    select min(kind) as kind, bool_or(event = 'create' and (exercising or actor = $4)) as exercised,
           max(target) filter (where target = any($3) and source <> target) as target,
           max(at_ms) filter (where target = any($3) and source <> target)
           - min(at_ms) filter (where event = 'create') as took_ms,
           bool_or((shard, seq, service) in (select shard, seq, service from moves where kind = 'page')) as called
    from told where kind = any($2) group by shard, machine having bool_or(event = 'create')
)
select kind, exercised, count(*) as began,
       count(*) filter (where target is null) as running, count(*) filter (where target = 'done') as done,
       count(*) filter (where target = 'abandoned') as abandoned, count(*) filter (where target = 'failed') as failed,
       count(*) filter (where target = 'paged') as paged,
       count(*) filter (where called or target = 'paged') as needed_person,
       percentile_cont(0.5) within group (order by took_ms) filter (where target = 'done') as p50_ms,
       percentile_cont(0.9) within group (order by took_ms) filter (where target = 'done') as p90_ms,
       (max(took_ms) filter (where target = 'done'))::float8 as max_ms
from run group by kind, exercised order by kind collate "C", exercised;

-- name: claims
-- kind
select kind, value, machine from herder.claim where kind = $1 order by value collate "C";

-- name: get_secret
-- name
select value from herder.secret where name = $1;

-- name: put_secret
-- name, value
insert into herder.secret (name, value) values ($1, $2) on conflict (name) do nothing;

-- name: drop_unused_join_tokens
-- server
delete from herder.join_token where server = $1 and used_at is null;

-- name: add_join_token
-- token_hash, server, incarnation
insert into herder.join_token (token_hash, server, incarnation) values ($1, $2, $3);

-- name: use_join_token
-- token_hash
update herder.join_token set used_at = clock_timestamp() where token_hash = $1 and used_at is null
returning server, incarnation;
