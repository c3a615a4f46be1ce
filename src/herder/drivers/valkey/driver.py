"""The Valkey driver: roles, pledges and moves of one member, with the marker beside its data as the durable truth.

Replication is asynchronous: nothing here makes an acknowledged write survive the loss of its primary. What is kept is
that an empty or half-copied member never leads, that a pledge holds over restarts, and that the loss is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from herder.drivers.processes import POLL_S, Account, in_thread
from herder.drivers.valkey.client import Lines, Look
from herder.drivers.valkey.config import NOWHERE, source_words, upstream_of
from herder.drivers.valkey.engine import Engine
from herder.drivers.valkey.fsync import Fsyncs
from herder.drivers.valkey.handover import check_target, hand_over
from herder.drivers.valkey.marker import Intent, Marker, Markers, aof_reach, sync_aof
from herder.drivers.valkey.names import ReplicaNames
from herder.drivers.valkey.rules import came_back_empty, may_not_lead, noted, position_of, told_apart, worth_noting
from herder.model.errors import Conflict, Environment, HerderError, NoData, Refused, TimedOut
from herder.ports.driver import MemberSpec, Position, Reading, Role, Running, Source, SyncSet

READ_S = 0.6
"""Seconds for the engine's answers in one reading; the port promises one within a second, names may take the rest."""

NOTE_EVERY_S = 10.0
"""Seconds between notes of an offset that only grew (each note is an fsync). A new history or key count 0 <-> some is
noted at once."""

CONTACT_S = 20.0
"""Seconds a new standby may be without its upstream and without a copy under way."""

COPIES_MAX = 3
"""Copies begun in one wait. More is a resync loop, which only burns the primary's memory (failure 18)."""


class ValkeyDriver:
    """Implements `herder.ports.driver.Driver` for Valkey 9."""

    engine = "valkey"

    def __init__(self, account: Account | None = None, valkey_bin: str = "") -> None:
        self._lines = Lines()
        self._engine = Engine(self._lines, account or Account(), valkey_bin)
        self._markers = Markers()
        self._names = ReplicaNames()
        self._fsyncs = Fsyncs(self._lines)
        self._noted_at: dict[str, float] = {}
        self._notes: dict[str, asyncio.Task[None]] = {}

    # Making

    async def create_primary(self, spec: MemberSpec, sync: SyncSet) -> Running:
        marker = self._markers.load(spec)
        if marker is not None and marker.intent is Intent.PRIMARY and marker.synced:
            running = await self.start(spec)
            await self.set_sync(spec, sync)
            return running
        if marker is not None and marker.synced:
            raise Conflict(f"{spec.member} holds a standby", "promote it, or destroy the member first")
        if marker is None and self._engine.holds_data(spec):
            raise Refused(f"{spec.data_dir} holds data that nobody noted", "move it away by hand if it is not needed")
        # From here on the directory is known as ours and half-made, so a second try may clear it away.
        marker = await self._set(
            spec, Marker(member=spec.member, intent=Intent.PRIMARY, sync=sync, system_id=secrets.token_hex(8))
        )
        await self._engine.stop(spec, fast=False)
        self._engine.fresh_dir(spec)
        look = await self._engine.start(spec, marker)
        await self._lead(spec)
        await self._change(spec, synced=True)
        await self._note(spec)
        return Running(look.pid, started=True)

    async def create_standby(self, spec: MemberSpec, source: Source) -> Running:
        marker = self._markers.load(spec)
        if marker is not None and marker.intent is Intent.PRIMARY and marker.synced:
            raise Conflict(
                f"{spec.member} was a primary", "rejoin keeps its divergent data; or destroy the member first"
            )
        if marker is None and self._engine.holds_data(spec):
            raise Refused(f"{spec.data_dir} holds data that nobody noted", "move it away by hand if it is not needed")
        if marker is not None and marker.synced:
            await self._change(spec, intent=Intent.STANDBY, source=source)
        else:
            again = marker is not None and marker.intent is Intent.STANDBY
            marker = await self._set(spec, Marker(member=spec.member, intent=Intent.STANDBY, source=source))
            if not again or not self._engine.pids(spec):
                await self._engine.stop(spec, fast=False)
                self._engine.fresh_dir(spec)
        running = await self.start(spec)
        await self._copied(spec, source)
        return running

    async def start(self, spec: MemberSpec) -> Running:
        marker = self._markers.load(spec)
        if marker is None:
            raise NoData(f"there is no data of {spec.member} here", "look for its volume")
        if not Path(spec.data_dir).is_dir():
            raise NoData(
                f"the data directory of {spec.member} is gone ({marker.keys} keys were noted)",
                "promote a replica, then rejoin this member",
            )
        look = await self._engine.running(spec)
        started = look is None
        if look is None:
            look = await self._engine.start(spec, marker)
        else:
            await self._engine.configure(spec, marker)
        await self._resume(spec, marker, look)
        return Running(look.pid, started=started)

    async def _resume(self, spec: MemberSpec, marker: Marker, look: Look) -> None:
        """Give a running engine the role the marker says. Never takes the lead away: that is the control plane's word.

        (A primary whose marker says standby was made one by FAILOVER, and waits for `promote` to confirm it.)
        """
        if marker.intent is not Intent.PRIMARY:
            if look.role is Role.STANDBY and look.upstream != upstream_of(marker):
                await self._replicaof(spec, *source_words(marker.source if marker.intent is Intent.STANDBY else None))
            return
        if look.role is Role.PRIMARY:
            return
        if not marker.synced:
            raise Conflict(f"{spec.member} was never finished", "create it again")
        reason = marker.refused or came_back_empty(marker, look, aof_reach(Path(spec.data_dir)))
        if reason:
            await self._change(spec, refused=reason)
            raise NoData(f"{spec.member} must not lead: {reason}", "promote a replica, then rejoin this member")
        await self._lead(spec)
        await self._note(spec)

    async def stop(self, spec: MemberSpec, *, fast: bool) -> str:
        if fast and self._engine.pids(spec):
            with contextlib.suppress(HerderError):  # only makes the position after the next start exact
                await self._note(spec)
        return await self._engine.stop(spec, fast=fast)

    async def rest(self, spec: MemberSpec) -> Position | None:
        """None: Valkey hands over by FAILOVER and keeps no position that outlives it."""
        return None

    async def leftovers(self, spec: MemberSpec) -> list[int]:
        return self._engine.pids(spec)

    # Roles

    async def pledge(self, spec: MemberSpec) -> Position:
        """The promise is on disk before the stream is cut, and the position (with the log fsynced up to it) after."""
        marker = self._marker(spec)
        look = await self._look(spec)
        if look.role is Role.PRIMARY:
            raise Refused(f"{spec.member} is a primary and cannot pledge", "fence it instead")
        marker = await self._change(spec, intent=Intent.PLEDGED, source=None)
        await self._engine.configure(spec, marker)
        await self._replicaof(spec, *source_words(None))
        look = await self._until(
            spec,
            lambda seen: not seen.link_up and seen.upstream == NOWHERE and not seen.aof_buffer,
            "let go of its upstream",
        )
        if look.role is not Role.STANDBY:
            raise Conflict(f"{spec.member} became a primary while it pledged", "read the members again")
        await in_thread(sync_aof, Path(spec.data_dir))
        await self._note(spec, look)
        return position_of(self._marker(spec), look)

    async def promote(self, spec: MemberSpec, sync: SyncSet) -> Position:
        marker = self._marker(spec)
        look = await self._look(spec)
        if look.role is Role.STANDBY:
            reason = may_not_lead(marker, look)
            if reason:
                raise Refused(f"{spec.member} must not lead: {reason}", "choose another member, or restore a backup")
        await self._min_replicas(spec, sync.k)
        marker = await self._change(spec, intent=Intent.PRIMARY, source=None, sync=sync, synced=True)
        await self._engine.configure(spec, marker)
        look = await self._lead(spec)
        await self._note(spec, look)
        return look.position

    async def follow(self, spec: MemberSpec, source: Source) -> None:
        look = await self._look(spec)
        if look.role is Role.PRIMARY:
            raise Refused(f"{spec.member} is a primary", "stop it and let it rejoin, or move the role with a failover")
        marker = self._marker(spec)
        if marker.intent is Intent.PRIMARY:
            raise Refused(f"{spec.member} was a primary", "rejoin keeps its divergent data first")
        marker = await self._change(spec, intent=Intent.STANDBY, source=source)
        await self._engine.configure(spec, marker)
        await self._replicaof(spec, *source_words(source))

    async def set_sync(self, spec: MemberSpec, sync: SyncSet) -> int:
        """`k` replicas must be in touch, whichever they are: Valkey counts, it does not name. So nobody is ended here.

        Who is told this leads, and goes on: a hand-over that was begun, and that nobody waits for any more, is given up, and
        the marker says primary again.
        """
        look = await self._look(spec)
        if look.role is Role.PRIMARY and look.failover != "no-failover":
            with contextlib.suppress(Conflict, Refused):  # it ended meanwhile: the next look shows how
                await self._lines.call(spec, "FAILOVER", "ABORT")
            look = await self._look(spec)
        if look.role is not Role.PRIMARY:
            raise Refused(f"{spec.member} is not the primary", "read the members again")
        marker = await self._change(spec, sync=sync, intent=Intent.PRIMARY, source=None)
        await self._engine.configure(spec, marker)
        await self._min_replicas(spec, sync.k)
        return (await self._look(spec)).offset

    async def failover_to(self, spec: MemberSpec, target: Source, timeout_ms: int = 5000) -> Position:
        """Primary: hand over to a replica in touch, without loss; then follow it. Call `promote` on the target after.

        The marker says standby before the engine is asked: killed in between, it comes back as one, and nobody leads
        until the control plane promotes (never two). TimedOut: the engine gave up and still leads.
        """
        marker = self._marker(spec)
        look = await self._look(spec)
        if look.role is Role.STANDBY and look.upstream == (target.address, target.port):
            return look.position
        check_target(spec, look, target)
        moved = await self._change(spec, intent=Intent.STANDBY, source=target)
        await self._engine.configure(spec, moved)
        try:
            look = await hand_over(self._lines, spec, target, timeout_ms)
        except (TimedOut, Refused, Conflict):
            if (await self._look(spec)).role is Role.PRIMARY:
                await self._change(spec, intent=Intent.PRIMARY, source=None)
                await self._engine.configure(spec, marker)
            raise
        await self._note(spec, look)
        return look.position

    async def rejoin(self, spec: MemberSpec, source: Source) -> str:
        """A former primary's directory is set aside whole and a fresh copy taken: with an append-only file Valkey 9 has
        no partial resync after a restart, so its old data would only be loaded to be thrown away.
        """
        marker = self._markers.load(spec)
        if self._engine.pids(spec):
            look = await self._look(spec)
            if look.role is Role.PRIMARY:
                raise Refused(f"{spec.member} still leads", "stop it first")
        elif marker is not None and marker.intent is not Intent.PRIMARY and not Path(spec.data_dir).exists():
            await self._change(spec, synced=False)
        if marker is None or marker.intent is Intent.PRIMARY:
            await self._engine.stop(spec, fast=False)
            kept = self._engine.set_aside(spec)
            if kept is not None and marker is not None:
                await in_thread((kept / "marker.json").write_bytes, msgspec.json.encode(marker))
            await self._set(spec, Marker(member=spec.member, intent=Intent.STANDBY, source=source))
        before = self._marker(spec)
        await self.create_standby(spec, source)
        return "followed" if before.synced else "copied"

    # Looking

    async def read(self, spec: MemberSpec) -> Reading:
        try:
            async with asyncio.timeout(READ_S):
                look = await self._lines.look(spec, timeout_s=READ_S)
                wanted = await self._lines.call(spec, "CONFIG", "GET", "min-replicas-to-write", timeout_s=READ_S)
        except (HerderError, TimeoutError) as error:
            return self._dead(spec, str(error))
        try:
            marker = self._markers.load(spec)
        except HerderError as error:
            return self._dead(spec, str(error))
        if look.loading:
            return Reading(alive=False, pid=look.pid, detail=f"loading its data set ({look.loading_percent:.0f} %)")
        if marker is not None and self._due(spec, marker, look):
            self._note_later(spec, look)
        self._fsyncs.keep(spec)
        standby = look.role is Role.STANDBY
        return Reading(
            alive=True,
            role=look.role,
            position=position_of(marker, look),
            received=position_of(marker, look).lsn if standby else None,
            upstream=look.link_up if standby else None,
            upstream_age_s=look.link_age_s if standby else None,
            streaming=await self._names.streaming(spec, look),
            sync=None if standby else SyncSet(int(wanted[1]), marker.sync.members if marker else ()),
            system_id=marker.system_id if marker else "",
            pid=look.pid,
            detail=marker.refused if marker else "",
        )

    async def checkpoint(self, spec: MemberSpec) -> None:
        """Nothing to do: the log is appended as it goes, and rewriting it would cost a fork for no shorter restart."""

    async def close(self) -> None:
        await self._fsyncs.close()
        await asyncio.gather(*self._notes.values(), return_exceptions=True)
        await self._lines.close()

    # Parts

    def _marker(self, spec: MemberSpec) -> Marker:
        marker = self._markers.load(spec)
        if marker is None:
            raise NoData(f"there is no data of {spec.member} here", "look for its volume")
        return marker

    async def _set(self, spec: MemberSpec, marker: Marker) -> Marker:
        await self._markers.change(spec, lambda _: marker)
        return marker

    async def _change(self, spec: MemberSpec, **fields: object) -> Marker:
        def step(marker: Marker | None) -> Marker | None:
            return None if marker is None else msgspec.structs.replace(marker, **fields)

        after = await self._markers.change(spec, step)
        if after is None:
            raise NoData(f"there is no data of {spec.member} here", "look for its volume")
        return after

    async def _look(self, spec: MemberSpec) -> Look:
        look = await self._lines.look(spec)
        if look.loading:
            raise Conflict(f"{spec.member} is loading its data set", "ask again")
        return look

    async def _replicaof(self, spec: MemberSpec, host: str, port: str) -> None:
        await self._lines.call(spec, "REPLICAOF", host, port)

    async def _min_replicas(self, spec: MemberSpec, count: int) -> None:
        await self._lines.call(spec, "CONFIG", "SET", "min-replicas-to-write", str(count))

    async def _lead(self, spec: MemberSpec) -> Look:
        await self._replicaof(spec, "NO", "ONE")
        look = await self._look(spec)
        if look.role is not Role.PRIMARY:
            raise Conflict(f"{spec.member} did not take the primary role", "see its log")
        return look

    async def _until(self, spec: MemberSpec, reached: Callable[[Look], bool], what: str) -> Look:
        deadline = time.monotonic() + CONTACT_S
        while True:
            look = await self._look(spec)
            if reached(look):
                return look
            if time.monotonic() > deadline:
                raise TimedOut(f"{spec.member} did not {what}", "see its log")
            await asyncio.sleep(POLL_S)

    async def _copied(self, spec: MemberSpec, source: Source) -> None:
        """Wait until the copy is whole, also on disk, and the stream runs; then note that this member may lead."""
        deadline = time.monotonic() + CONTACT_S
        copies, was_syncing = 0, False
        while True:
            look = await self._engine.running(spec)
            if look is None:
                raise Environment(
                    f"valkey-server ended during the copy: {self._engine.last_words(spec)}", "see its log"
                )
            if look.link_up and not look.syncing and look.settled and look.upstream == (source.address, source.port):
                break
            if look.syncing:
                deadline = time.monotonic() + CONTACT_S
                copies += not was_syncing
            was_syncing = look.syncing
            if copies > COPIES_MAX:
                raise Environment(
                    f"{spec.member} began {copies} copies of {source.member}", "enlarge the plan's memory"
                )
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"{spec.member} does not reach {source.member}: {self._engine.last_words(spec)}", "see its log"
                )
            await asyncio.sleep(POLL_S)
        await self._change(spec, synced=True)
        await self._note(spec, look)

    # Notes: what the member holds, for the life after this one

    def _due(self, spec: MemberSpec, marker: Marker, look: Look) -> bool:
        waited = time.monotonic() - self._noted_at.get(spec.data_dir, 0.0)
        moved = look.offset != marker.offset or look.keys != marker.keys
        return worth_noting(marker, look) and (told_apart(marker, look) or (moved and waited >= NOTE_EVERY_S))

    def _note_later(self, spec: MemberSpec, look: Look) -> None:
        """In the background: a reading never waits for a disk. One at a time for a member."""
        task = self._notes.get(spec.data_dir)
        if task is None or task.done():
            self._notes[spec.data_dir] = asyncio.create_task(self._note_quietly(spec, look))

    async def _note_quietly(self, spec: MemberSpec, look: Look) -> None:
        with contextlib.suppress(HerderError):  # a full disk shows in the readings of the server
            await self._note(spec, look)

    async def _note(self, spec: MemberSpec, look: Look | None = None) -> None:
        seen = look or await self._look(spec)
        reach = aof_reach(Path(spec.data_dir))

        def step(marker: Marker | None) -> Marker | None:
            return noted(marker, seen, reach) if marker is not None and worth_noting(marker, seen) else marker

        await self._markers.change(spec, step)
        self._noted_at[spec.data_dir] = time.monotonic()

    def _dead(self, spec: MemberSpec, reason: str) -> Reading:
        pids = self._engine.pids(spec)
        words = self._engine.last_words(spec)
        if not pids:
            return Reading(alive=False, detail=f"no valkey-server runs: {words}" if words else "no valkey-server runs")
        return Reading(alive=False, pid=pids[0], detail=reason)
