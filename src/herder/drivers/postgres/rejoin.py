"""A stopped former primary comes back as a standby: its divergent log is kept first, then it is rewound or copied again.

Each step is marked beside the data, so that a rejoin killed anywhere is taken up by the next call: before 'rewinding'
nothing was changed; a rewind that did not finish leaves a directory of two histories, which is only good for copying.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from herder.drivers import processes
from herder.drivers.postgres import config, control, layout, lifecycle
from herder.drivers.postgres.control import FOREVER, Control, History
from herder.drivers.postgres.copying import claim_slot, copy_beside, dress_as_standby, swap
from herder.drivers.postgres.kept import copy_file, copy_written, segments_from
from herder.drivers.postgres.layout import Layout
from herder.drivers.postgres.session import at_source
from herder.drivers.processes import Account, in_thread, run
from herder.model.errors import Environment, HerderError, Refused, TimedOut
from herder.model.lsn import format_lsn
from herder.ports.driver import MemberSpec, Source

LOG = logging.getLogger(__name__)

REWIND_LIMIT_S = 3600.0
"""Seconds for pg_rewind with the crash recovery before it; past it a fresh copy is the better way."""

_SOURCE = """
SELECT (SELECT system_identifier FROM pg_control_system())::text AS system_id,
       pg_is_in_recovery() AS standby,
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END AS timeline
"""


class Kept(msgspec.Struct, frozen=True):
    """What `.diverged-*/herder.json` says: whose log, from where it differs from the service's, and how many bytes of log."""

    member: str
    system_id: str
    timeline: int
    fork: str
    clean: bool
    bytes: int


async def _source_history(spec: MemberSpec, source: Source) -> tuple[int, History]:
    """(system id, history) of the source. Refused when it is a standby: pg_rewind would leave us behind the primary."""
    async with at_source(spec, source, config.ADMIN, spec.admin_password) as connection:
        row = await connection.fetchrow(_SOURCE)
        if row["standby"]:
            raise Refused(f"{source.member} is a standby", "rejoin to the primary")
        name = f"pg_wal/{row['timeline']:08X}.history"
        text = await connection.fetchval("SELECT pg_read_file($1, true)", name)
        return int(row["system_id"]), control.parse_history(text or "", row["timeline"])


def keep(spec: MemberSpec, state: Control, fork: int) -> Path:
    """Keep the log from the fork on, with pg_control, in a directory named after both; done before is done.

    The only copy of writes that were acknowledged and not replicated (rule S5). Copies, not links: see `copy_written`.
    """
    paths = Layout.of(spec)
    target = paths.beside(f"diverged-{state.timeline:08X}-{fork:016X}")
    if (target / "herder.json").exists():
        return target
    half = paths.beside("diverged.half")
    layout.remove(half)
    half.mkdir(mode=0o700)
    own = control.own_history(paths.data, state.timeline)
    segments = segments_from(paths.data, own, fork, state.segment_bytes)
    size = sum(copy_written(segment, half / segment.path.name) for segment in segments)
    histories = {segment.timeline for segment in segments} | {state.timeline}
    for source in (paths.data / "global" / "pg_control", *(_history_of(paths, each) for each in sorted(histories))):
        if source.exists():
            copy_file(source, half / source.name)
    said = Kept(spec.member, str(state.system_id), state.timeline, format_lsn(fork), state.clean, size)
    layout.write(half / "herder.json", msgspec.json.encode(said).decode() + "\n", Account())
    layout.move(half, target)
    return target


def _history_of(paths: Layout, timeline: int) -> Path:
    return paths.data / "pg_wal" / f"{timeline:08X}.history"


async def _rewind(spec: MemberSpec, source: Source, bin_dir: Path, account: Account) -> str:
    """Make the directory one that can follow the source; returns 'followed' (nothing to undo) or 'rewound'."""
    paths = Layout.of(spec)
    state = await control.read_control(bin_dir, paths.data, account, paths.log_dir)
    system_id, history = await _source_history(spec, source)
    if system_id != state.system_id:
        raise Refused(
            f"{source.member} is another cluster ({system_id}, not {state.system_id})", "look before overwriting"
        )
    fork = control.fork(control.own_history(paths.data, state.timeline), history)
    standby = paths.standby_signal.exists()
    # A clean primary's log ends with its last checkpoint; a standby's, or a crashed one's, may go on after it.
    ends_before_fork = fork == FOREVER if standby else state.clean and state.checkpoint < fork
    how = "followed"
    if not ends_before_fork:
        await in_thread(keep, spec, state, fork if fork != FOREVER else state.checkpoint)
        layout.write_rejoin(paths, "rewinding")
        how = await _run_rewind(spec, source, bin_dir, account)
    else:
        layout.write_rejoin(paths, "rewinding")
    dress_as_standby(spec, paths, paths, source, account)
    return how


async def _run_rewind(spec: MemberSpec, source: Source, bin_dir: Path, account: Account) -> str:
    paths = Layout.of(spec)
    # For the crash recovery that pg_rewind runs: our settings without the sync set and without a source.
    settings = paths.log_dir / "rewind.conf"
    layout.write(settings, config.render_main(spec, paths).partition("include 'herder.sync.conf'")[0], account)
    info = config.conninfo(source, config.ADMIN, "", f"{spec.member} rewind", "postgres")
    said = await run(
        [
            str(bin_dir / "pg_rewind"), "--target-pgdata", str(paths.data), "--source-server", info,
            "--config-file", str(settings), "--no-sync",
        ],
        account=account, cwd=paths.log_dir, timeout_s=REWIND_LIMIT_S,
        extra_env={"PGPASSWORD": spec.admin_password},
    )  # fmt: skip
    await in_thread(layout.sync_tree, paths.data)
    return "followed" if "no rewind required" in said else "rewound"


async def make_follower(spec: MemberSpec, source: Source, bin_dir: Path, account: Account) -> str:
    """Turn the stopped directory into a standby of `source`, ready to be started; returns how."""
    paths = Layout.of(spec)
    await processes.kill_within(paths.log_dir)  # a pg_rewind whose agent was killed
    await lifecycle.clear(paths)  # and the single-user server it runs
    begun = layout.read_rejoin(paths)
    if (begun is None or begun.step == "keeping") and layout.complete(paths, spec):
        layout.write_rejoin(paths, "keeping")
        await claim_slot(spec, source)  # raises Unreachable before anything is changed
        try:
            return await _rewind(spec, source, bin_dir, account)
        except (Environment, TimedOut) as failed:
            LOG.warning("%s cannot be rewound and is copied: %s", spec.member, failed.message)
            begun = layout.read_rejoin(paths)
            if begun is None or begun.step == "keeping":  # it failed before the divergent log was kept
                await _keep_all(spec, failed)
    layout.write_rejoin(paths, "copying")
    await copy_beside(spec, source, str(bin_dir), account)
    await swap(paths)
    return "copied"


async def _keep_all(spec: MemberSpec, reason: HerderError) -> None:
    """Keep all of the log of a directory that could not even be read, before it is replaced."""
    paths = Layout.of(spec)
    target = paths.beside("diverged-unreadable")
    layout.remove(target)
    target.mkdir(mode=0o700)
    for source in sorted((paths.data / "pg_wal").glob("*")):
        if source.is_file():
            await in_thread(copy_file, source, target / source.name)
    layout.write(target / "reason.txt", f"{reason.message}\n", Account())
