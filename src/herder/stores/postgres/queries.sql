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
-- shard, seq, epoch, at_ms, body, prev_hash, hash, releases, claims, units, history, projected
select herder.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

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

-- name: save_part
-- shard, seq, part, body
insert into herder.snapshot_part (shard, seq, part, body) values ($1, $2, $3, $4)
on conflict (shard, seq, part) do update set body = excluded.body;

-- name: hide_snapshot
-- shard, seq. Its parts are about to be written again.
delete from herder.snapshot where shard = $1 and seq = $2;

-- name: save_snapshot
-- shard, seq, parts, digest, record_hash
insert into herder.snapshot (shard, seq, parts, digest, record_hash) values ($1, $2, $3, $4, $5)
on conflict (shard, seq) do update set
    parts = excluded.parts, digest = excluded.digest, record_hash = excluded.record_hash, made_at = excluded.made_at;

-- name: drop_old_snapshots
-- shard. The newest two stay: should the newest not be readable, the one before and a longer tail still are.
delete from herder.snapshot where shard = $1 and seq not in (
    select seq from herder.snapshot where shard = $1 order by seq desc limit 2
);

-- name: drop_old_parts
-- shard. Those of dropped snapshots, and of one whose writer died.
delete from herder.snapshot_part as p where shard = $1 and not exists (
    select from herder.snapshot as s where s.shard = p.shard and s.seq = p.seq and p.part < s.parts
);

-- name: snapshots
-- shard
select seq, parts, digest, record_hash from herder.snapshot where shard = $1 order by seq desc;

-- name: read_part
-- shard, seq, part
select body from herder.snapshot_part where shard = $1 and seq = $2 and part = $3;

-- name: ends_of_log
-- shard
select min(seq) as first, max(seq) as last from herder.log where shard = $1;

-- name: time_of_record
-- shard, seq
select at_ms from herder.log where shard = $1 and seq = $2;

-- name: drop_log
-- shard, below_seq, limit. The second newest snapshot is the oldest that is kept.
with floor as (
    select least($2, (select seq from herder.snapshot where shard = $1 order by seq desc offset 1 limit 1)) as seq
    where (select count(*) from herder.snapshot where shard = $1) >= 2
), dropped as (
    delete from herder.log where shard = $1 and seq < (select seq from floor)
    and seq < (select min(seq) from herder.log where shard = $1) + $3
    returning 1
) select count(*) from dropped;

-- name: drop_history
-- before_ms, limit
with dropped as (
    delete from herder.history where ctid = any(array(
        select ctid from herder.history where at_ms < $1 order by at_ms limit $2
    )) returning 1
) select count(*) from dropped;

-- name: watermark
-- shard
select seq, at_ms, history_seq, epoch from herder.projection where shard = $1;

-- name: begin_projection
-- shard, epoch. A row to write to.
insert into herder.projection (shard, epoch, seq, history_seq, at_ms) values ($1, $2, 0, 0, 0)
on conflict (shard) do nothing;

-- name: generations
-- shard
select generation, building from herder.projection where shard = $1;

-- name: mark_projection
-- shard, epoch, seq or null, at_ms, history_seq or null. Comes last: only here does a follower hold what a commit needs.
update herder.projection set epoch = $2, seq = coalesce($3, seq), at_ms = case when $3::bigint is null then at_ms else $4 end,
       history_seq = coalesce($5, history_seq)
where shard = $1 and epoch <= $2
returning true;

-- name: begin_rebuild
-- shard, epoch. Numbers go round; rows of a number that comes again were dropped long ago.
update herder.projection set epoch = $2, building = (coalesce(building, generation) + 1) % 32000
where shard = $1 and epoch <= $2
returning true;

-- name: finish_rebuild
-- shard, epoch, seq, at_ms
update herder.projection set epoch = $2, generation = building, building = null, seq = $3, at_ms = $4
where shard = $1 and epoch <= $2 and building is not null
returning true;

-- name: drop_stale_units
-- shard, limit
with dropped as (
    delete from herder.unit where ctid = any(array(
        select u.ctid from herder.unit as u join herder.projection as p using (shard)
        where u.shard = $1 and u.generation <> p.generation and u.generation is distinct from p.building limit $2
    )) returning 1
) select count(*) from dropped;

-- name: add_words
-- words
select herder.add_words($1::text[]);

-- name: words
select word, code from herder.word;

-- name: put_units
-- shard, units
select herder.put_units($1, $2);

-- name: last_unit
-- shard, generation
select max(machine) from herder.unit where shard = $1 and generation = $2;

-- name: make_stages
-- Of this session, emptied at each commit: a set of rows comes here by COPY before it goes where it belongs.
create temporary table if not exists unit_stage (
    since_ms bigint, deadline_ms bigint, version integer, machine integer, service_id integer, kind smallint,
    state smallint, name text, service text, data jsonb
) on commit delete rows;
create temporary table if not exists history_stage (like herder.history) on commit delete rows;

-- name: plan_in_sets
-- Of this transaction. The planner knows nothing of a stage, and a table that was empty a moment ago has no statistics: left
-- to itself it walks the whole key once a row. The key of each staged row is looked up, then both are hashed together:
-- measured at 350,000 rows/s where they lie together and 60,000 where one in twenty moves.
select set_config('enable_seqscan', 'off', true), set_config('enable_nestloop', 'off', true),
       set_config('enable_mergejoin', 'off', true), set_config('work_mem', '32MB', true);

-- name: update_units
-- shard, generation
update herder.unit as u set
    since_ms = s.since_ms, deadline_ms = s.deadline_ms, version = s.version, service_id = s.service_id, kind = s.kind,
    state = s.state, name = s.name, service = s.service, data = s.data
from unit_stage as s
where u.shard = $1 and u.generation = $2 and u.machine = s.machine
and u.machine = any((select array_agg(machine) from unit_stage)::integer[]);

-- name: insert_units
-- shard, generation
insert into herder.unit
    (since_ms, deadline_ms, version, machine, service_id, shard, generation, kind, state, name, service, data)
select since_ms, deadline_ms, version, machine, service_id, $1, $2, kind, state, name, service, data from unit_stage
on conflict (shard, generation, machine) do nothing;

-- name: insert_history
-- A move is told once: a follower that projects a record again changes nothing.
insert into herder.history select * from history_stage on conflict (shard, seq, ordinal) do nothing;

-- name: delete_history_between
-- shard, first_seq, last_seq
delete from herder.history where shard = $1 and seq between $2 and $3;

-- name: delete_units
-- shard
delete from herder.unit where shard = $1;

-- name: delete_history
-- shard
delete from herder.history where shard = $1;

-- name: units
-- service or '', kind or ''
select machine, kind, name, service, state, version, since_ms, deadline_ms, data::text as data, service_id
from herder.units
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
