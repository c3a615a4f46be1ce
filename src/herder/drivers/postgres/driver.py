"""The PostgreSQL driver: ports/driver.Driver, each action a short story told with the rooms beside this one."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from herder.drivers import binaries, processes
from herder.drivers.postgres import config, control, layout, lifecycle, rejoin, spares, streaming, template
from herder.drivers.postgres.copying import claim_slot, copy_beside, swap
from herder.drivers.postgres.hearing import Hearing
from herder.drivers.postgres.layout import Layout
from herder.drivers.postgres.overrides import Overrides
from herder.drivers.postgres.session import (
    BROKEN,
    READ_TIMEOUT_S,
    Sessions,
    last_words,
    look,
    make_slot,
    words,
)
from herder.drivers.processes import POLL_S, Account, in_thread
from herder.model.errors import HerderError, InvalidInput, Refused, TimedOut, Unreachable
from herder.ports.driver import MemberSpec, Position, Reading, Role, Running, Source, SyncSet

LOG = logging.getLogger(__name__)

FOLLOWING_S = 10.0
"""Seconds until a standby that was just started must stream; past it its log does not fit and it is copied again."""

REJOIN_STALLED_S = 15.0
"""As lifecycle.STALLED_S, for a standby that can be copied again: waiting longer than a copy takes is no gain."""

PROMOTE_LIMIT_S = 60.0
"""Seconds for a promotion: what is left to replay is bounded by max_standby_streaming_delay and the plan's lag limit."""


class PostgresDriver:
    """Actions on PostgreSQL members of this machine.

    dirs: directory of programs by major (binaries.postgres_dirs). template_dir: shared by the agents of this machine;
    templates are made there once. account: whom engines run as (processes.Account.named).
    """

    engine = "postgres"

    def __init__(self, dirs: Mapping[int, Path], template_dir: Path, account: Account) -> None:
        self._dirs = dict(dirs)
        self._template_dir = template_dir
        self._account = account
        self._sessions = Sessions()
        # looks have a connection of their own: one that is slow or times out must not end an action's (a pledge's)
        self._looks = Sessions()
        self._overrides = Overrides()
        self._hearing = Hearing()
        self._looking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def _programs(self, spec: MemberSpec) -> tuple[int, Path]:
        major = spec.major
        version = Path(spec.data_dir) / "PG_VERSION"
        if not major and version.exists():  # 0 is the newest for a new member; one with data stays on its major
            major = int(version.read_text())
        found, directory = binaries.postgres_dir(self._dirs, major)
        binaries.check_executable(directory / "postgres", self._account.uid, self._account.gid)
        return found, directory

    def _prepare(self, paths: Layout) -> None:
        """Make what lies beside the data, and see that the engine user gets there."""
        layout.prepare(paths, self._account)
        binaries.check_passable(paths.data.parent, self._account.uid, self._account.gid, "its data")

    # --- making a member

    async def create_primary(self, spec: MemberSpec, sync: SyncSet) -> Running:
        """Copy the template, start it, name its database and user. Measured: see docs of the template module."""
        async with self._locks[spec.data_dir]:
            major, bin_dir = self._programs(spec)
            paths = Layout.of(spec)
            if not layout.complete(paths, spec):
                await self._lay_down(spec, sync, major, bin_dir)
            elif paths.standby_signal.exists():
                raise Refused(f"{spec.data_dir} holds a standby", "an existing standby is promoted, not created")
            running = await lifecycle.start(spec, bin_dir, self._account)
            await self._name_things(spec)
            return running

    async def _lay_down(self, spec: MemberSpec, sync: SyncSet, major: int, bin_dir: Path) -> None:
        """Put a durable, complete, not yet started cluster in place; rubbish of an earlier try is cleared away."""
        paths = Layout.of(spec)
        there = paths.at(paths.new)
        text = config.render_sync(sync)
        self._prepare(paths)
        await processes.kill_within(paths.data)
        source = await template.ensure(bin_dir, major, self._template_dir, self._account)
        if paths.new.exists():
            await in_thread(layout.remove, paths.new)
        if not await spares.take(self._template_dir, major, paths.new):
            await template.clone(source, paths.new, self._account)
        layout.write(there.sync_conf, text, self._account)
        lifecycle.write_config(spec, paths, paths.new, self._account)
        layout.write_owner(there, spec, self._account)
        await in_thread(layout.sync_tree, paths.new)
        if paths.data.exists():
            await in_thread(layout.remove, paths.data)
        layout.move(paths.new, paths.data)

    async def _name_things(self, spec: MemberSpec) -> None:
        """Give database, user and passwords their names: one transaction, so it is done or not begun."""
        async with self._sessions.use(spec) as connection:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", template.PLACEHOLDER):
                return
            placeholder, user, database = (f'"{name.replace(chr(34), chr(34) * 2)}"'
                                           for name in (template.PLACEHOLDER, spec.user, spec.database))  # fmt: skip
            verifiers = {
                user: config.scram_verifier(spec.password),
                config.ADMIN: config.scram_verifier(spec.admin_password),
                config.REPLICATION: config.scram_verifier(spec.replication_password),
            }
            statements = [f"ALTER ROLE {placeholder} RENAME TO {user}"]
            statements += [f"ALTER ROLE {role} PASSWORD '{verifier}'" for role, verifier in verifiers.items()]
            statements.append(f"ALTER DATABASE {placeholder} RENAME TO {database}")
            async with connection.transaction():
                await connection.execute("; ".join(statements))

    async def create_standby(self, spec: MemberSpec, source: Source) -> Running:
        """Copy the source beside the data, move it in place, start it. A standby that is there and streams is left."""
        async with self._locks[spec.data_dir]:
            _, bin_dir = self._programs(spec)
            paths = Layout.of(spec)
            self._prepare(paths)
            if layout.complete(paths, spec):
                if not paths.standby_signal.exists():
                    raise Refused(f"{spec.data_dir} holds a former primary", "let it rejoin: its log is kept then")
                with suppress(HerderError):
                    return await self._start_following(spec, source, bin_dir)
            await lifecycle.stop(spec, fast=False)
            self._sessions.drop(spec)
            await copy_beside(spec, source, str(bin_dir), self._account)
            await swap(paths)
            return await lifecycle.start(spec, bin_dir, self._account)

    async def _start_following(self, spec: MemberSpec, source: Source, bin_dir: Path) -> Running:
        """Start a standby and see it stream; TimedOut when its log does not fit the source's."""
        await self._point_at(spec, source)
        running = await lifecycle.start(spec, bin_dir, self._account, stalled_s=REJOIN_STALLED_S)
        if not running.started:
            async with self._sessions.use(spec) as connection:
                await connection.execute("SELECT pg_reload_conf()")
        await self._streams(spec, FOLLOWING_S)
        return running

    async def _streams(self, spec: MemberSpec, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while not (await self.read(spec)).upstream:
            if time.monotonic() > deadline:
                said = last_words(Layout.of(spec).log, receiver=True)
                raise TimedOut(f"{spec.member} does not stream after {limit_s:.0f} s: {said}", "copy it again")
            await asyncio.sleep(POLL_S * 2)

    # --- running

    async def start(self, spec: MemberSpec) -> Running:
        """Start on the data as it is, or adopt what runs."""
        async with self._locks[spec.data_dir]:
            paths = Layout.of(spec)
            layout.require(paths, spec)
            begun = layout.read_rejoin(paths)
            if begun is not None and begun.step != "keeping":
                raise Refused(f"a rejoin of {spec.member} was begun and not ended", "ask for the rejoin again")
            _, bin_dir = self._programs(spec)
            return await lifecycle.start(spec, bin_dir, self._account)

    async def stop(self, spec: MemberSpec, *, fast: bool) -> str:
        """End it, and any copy or rewind of it, until no process is left. Waits for no other action: a fence is urgent."""
        paths = Layout.of(spec)
        await processes.kill_within(paths.log_dir)
        if fast and lifecycle.postmaster(paths) is not None:
            with suppress(HerderError):  # it only makes the shutdown's own checkpoint short
                await self.checkpoint(spec)
        self._sessions.drop(spec)
        return await lifecycle.stop(spec, fast=fast)

    async def rest(self, spec: MemberSpec) -> Position | None:
        """See the port: the shutdown checkpoint's position."""
        end = control.clean_end(Path(spec.data_dir))
        return Position(*end) if end is not None else None

    async def leftovers(self, spec: MemberSpec) -> list[int]:
        """Pids of all processes that have the data directory as their cwd, which every PostgreSQL process has."""
        return processes.within(Path(spec.data_dir))

    async def checkpoint(self, spec: MemberSpec) -> None:
        """CHECKPOINT; on a standby a restart point."""
        async with self._sessions.use(spec) as connection:
            await connection.execute("CHECKPOINT", timeout=lifecycle.STALLED_S)

    async def read(self, spec: MemberSpec) -> Reading:
        """Look once. A kept connection that turns out to be dead is made anew within the same second."""
        paths = Layout.of(spec)
        try:
            pid = lifecycle.postmaster(paths)
            async with asyncio.timeout(READ_TIMEOUT_S), self._looking[spec.data_dir]:
                try:
                    return await self._seen(await self._looks.get(spec), spec, pid or 0)
                except (ConnectionError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError,
                        asyncpg.AdminShutdownError, asyncpg.CrashShutdownError):  # fmt: skip
                    return await self._seen(await self._looks.get(spec, fresh=True), spec, pid or 0)
        except BROKEN as error:
            self._looks.drop(spec)
            pid = lifecycle.postmaster(paths)
            said = last_words(paths.log)
            if isinstance(error, TimeoutError):
                said = f"no answer within {READ_TIMEOUT_S:.0f} s"
            elif pid is not None or not said:
                said = words(error)
            return Reading(alive=False, pid=pid or 0, detail=said)

    async def _seen(self, connection: Any, spec: MemberSpec, pid: int) -> Reading:
        """A reading, and where commits are to wait for others also what keeps them from it."""
        reading = await look(connection, pid, self._hearing, spec.data_dir)
        if reading.role is not Role.PRIMARY or reading.sync is None or not reading.sync.k:
            return reading
        found = await self._overrides.of(connection, spec.data_dir, READ_TIMEOUT_S)
        return msgspec.structs.replace(reading, overrides=found)

    # --- leading and following

    async def _point_at(self, spec: MemberSpec, source: Source | None) -> None:
        """Write durably whom this member follows. A pledge follows nobody, and goes on knowing what it heard."""
        if source is not None:
            self._hearing.forget(spec.data_dir)
        layout.write_if_changed(Layout.of(spec).stream_conf, config.render_stream(spec, source), self._account)

    async def pledge(self, spec: MemberSpec) -> Position:
        """Stop streaming for good, then say how far this member reaches. Measured: see the conformance test's report."""
        paths = Layout.of(spec)
        layout.require(paths, spec)
        if not paths.standby_signal.exists():
            raise Refused(f"{spec.member} is no standby", "a primary is fenced by stopping it")
        await self._point_at(spec, None)
        if lifecycle.postmaster(paths) is None:
            await self.start(spec)
        async with self._sessions.use(spec) as connection:
            await streaming.require_no_promotion(connection, paths, spec)
            before = await connection.fetchval("SELECT received_tli FROM pg_stat_wal_receiver")
            await streaming.stop_receiving(connection, paths)
            position = await streaming.pledged_position(connection, before or 0)
            await streaming.require_no_promotion(connection, paths, spec)
            return position

    async def promote(self, spec: MemberSpec, sync: SyncSet) -> Position:
        """Sync set in force first, then promote, then slots for those who will follow."""
        paths = Layout.of(spec)
        layout.require(paths, spec)
        text = config.render_sync(sync)
        async with self._sessions.use(spec) as connection:
            if not await connection.fetchval("SELECT pg_is_in_recovery()"):
                await self._set_sync(connection, spec, sync)
            else:
                layout.write_if_changed(paths.sync_conf, text, self._account)
                await self._point_at(spec, None)
                await streaming.sync_in_force(connection, paths, sync)
                await connection.execute("SELECT pg_promote(false)")
                await self._await_writable(connection)
            for member in sync.members:
                await make_slot(connection, member)
            position = (await look(connection, 0)).position
        assert position is not None
        return position

    @staticmethod
    async def _await_writable(connection: Any) -> None:
        """Until a transaction can write. Polled every 5 ms: pg_promote's own wait looks every 100."""
        deadline = time.monotonic() + PROMOTE_LIMIT_S
        while await connection.fetchval("SELECT pg_is_in_recovery()"):
            if time.monotonic() > deadline:
                raise TimedOut(f"the promotion did not end within {PROMOTE_LIMIT_S:.0f} s", "see the engine's log")
            await asyncio.sleep(POLL_S)
        async with connection.transaction():
            await connection.execute("SELECT pg_current_xact_id()")  # raises when it may not write

    async def follow(self, spec: MemberSpec, source: Source) -> None:
        """Stream from `source` from now on. A source that cannot be reached now is followed once it can be."""
        paths = Layout.of(spec)
        layout.require(paths, spec)
        if not paths.standby_signal.exists():
            raise Refused(f"{spec.member} is no standby", "stop it, then let it rejoin")
        if source.member == spec.member:
            raise InvalidInput(f"{spec.member} cannot follow itself", "name its primary")
        with suppress(Unreachable):
            await claim_slot(spec, source, idle=False)
        await self._point_at(spec, source)
        if (pid := lifecycle.postmaster(paths)) is not None:
            processes.send(pid, signal.SIGHUP, paths.data)

    async def set_sync(self, spec: MemberSpec, sync: SyncSet) -> int:
        """Put the sync set in force; returns the flushed lsn then: all that was acknowledged before is at or below it.

        Flushed, not inserted: on a page's edge the insert position lies behind a header that no standby ever flushes.
        """
        layout.require(Layout.of(spec), spec)
        async with self._sessions.use(spec) as connection:
            if await connection.fetchval("SELECT pg_is_in_recovery()"):
                raise Refused(f"{spec.member} is a standby", "its own list is set when it is promoted")
            await self._set_sync(connection, spec, sync)
            for member in sync.members:
                await make_slot(connection, member)
            lsn: int = await connection.fetchval("SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint")
            return lsn

    async def _set_sync(self, connection: Any, spec: MemberSpec, sync: SyncSet) -> None:
        paths = Layout.of(spec)
        text = config.render_sync(sync)
        old = config.parse_sync(await connection.fetchval("SHOW synchronous_standby_names"))
        layout.write_if_changed(paths.sync_conf, text, self._account)
        await streaming.sync_in_force(connection, paths, sync)
        await streaming.end_senders(connection, old, sync)

    async def rejoin(self, spec: MemberSpec, source: Source) -> str:
        """A stopped member of the past follows the source: as it is, rewound, or copied again."""
        async with self._locks[spec.data_dir]:
            _, bin_dir = self._programs(spec)
            paths = Layout.of(spec)
            self._prepare(paths)
            if source.member == spec.member:
                raise InvalidInput(f"{spec.member} cannot follow itself", "name its primary")
            if lifecycle.postmaster(paths) is not None:
                if not paths.standby_signal.exists():
                    raise Refused(f"{spec.member} runs as a primary", "stop it first")
                with suppress(HerderError):
                    await self._start_following(spec, source, bin_dir)
                    layout.remove(paths.rejoin)
                    return "followed"
                await lifecycle.stop(spec, fast=True)
            self._sessions.drop(spec)
            how = await rejoin.make_follower(spec, source, bin_dir, self._account)
            how = await self._see_it_follow(spec, source, bin_dir, how)
            for left in (paths.new, paths.old):  # of an earlier rejoin that was killed
                await in_thread(layout.remove, left)
            layout.remove(paths.rejoin)
            return how

    async def _see_it_follow(self, spec: MemberSpec, source: Source, bin_dir: Path, how: str) -> str:
        """Start it; when it does not stream (the source has no longer what it lacks), copy it and start that."""
        try:
            await self._start_following(spec, source, bin_dir)
            return how
        except HerderError as failed:
            if how == "copied":
                raise
            LOG.warning("%s was %s but does not follow, and is copied: %s", spec.member, how, failed.message)
        await lifecycle.stop(spec, fast=False)
        self._sessions.drop(spec)
        layout.write_rejoin(Layout.of(spec), "copying")
        how = await rejoin.make_follower(spec, source, bin_dir, self._account)
        await self._start_following(spec, source, bin_dir)
        return how

    async def close(self) -> None:
        """Let go of connections; engines keep running."""
        await self._sessions.close()
        await self._looks.close()
