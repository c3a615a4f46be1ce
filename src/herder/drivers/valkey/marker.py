"""What a Valkey member is meant to be and what it last held, kept beside its data directory and fsynced.

Valkey forgets two things over a restart that safety needs: its role (a primary that comes back with an empty data set
would make its replicas empty too) and, with an append-only file, its replication id and offset (valkey issue 3884).
The marker remembers both. An engine's own configuration never says "primary": that role is given over the connection,
by us, after the marker was compared with what was loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import msgspec

from herder.drivers.processes import Account, in_thread
from herder.model.errors import UNREADABLE, Environment, Refused
from herder.ports.driver import MemberSpec, Source, SyncSet

AOF_DIR = "appendonlydir"
AOF_MANIFEST = "appendonly.aof.manifest"


class Intent(StrEnum):
    """What the member was last told to be. PLEDGED: a standby that follows nobody, for good, until it is told again."""

    PRIMARY = "primary"
    STANDBY = "standby"
    PLEDGED = "pledged"


class Reach(msgspec.Struct, frozen=True, order=True):
    """How far the append-only file goes: the number of its newest piece, and that piece's bytes. It only ever grows."""

    piece: int = 0
    size: int = 0


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """One member's memory.

    member: whose directory this is. system_id: made with a primary, '' in a standby (the engine has none to copy).
    synced: it holds a whole copy (or was made as the primary); nothing else may be promoted. keys, history, offset,
    reach: what it held when last looked at, in the engine life `run_id`. refused: why it may not lead, '' when it may.
    """

    member: str
    intent: Intent
    system_id: str = ""
    source: Source | None = None
    sync: SyncSet = SyncSet()
    synced: bool = False
    keys: int = 0
    history: str = ""
    offset: int = 0
    run_id: str = ""
    reach: Reach = Reach()
    refused: str = ""


def beside(spec: MemberSpec, suffix: str) -> Path:
    """A path next to the data directory: it survives when the directory itself is lost or moved aside."""
    return Path(spec.data_dir + suffix)


def aof_reach(data_dir: Path) -> Reach:
    """Read the manifest; nothing (0, 0) when it or any file it names is missing: such a log proves nothing."""
    home = data_dir / AOF_DIR
    try:
        lines = (home / AOF_MANIFEST).read_text().splitlines()
        found = Reach()
        for line in lines:
            words = line.split()
            fields = dict(zip(words[::2], words[1::2], strict=False))
            size = (home / fields["file"]).stat().st_size
            if fields["type"] == "i":
                found = max(found, Reach(int(fields["seq"]), size))
        return found
    except (OSError, KeyError, ValueError):
        return Reach()


def sync_aof(data_dir: Path) -> None:
    """Force the append-only file to disk. An fsync on our own descriptor writes out the pages the engine has written."""
    home = data_dir / AOF_DIR
    for path in (*home.glob("*.incr.aof"), home):
        with contextlib.suppress(FileNotFoundError):
            sync_path(path)


def sync_path(path: Path) -> None:
    """Fsync a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes, account: Account | None = None) -> None:
    """Replace a file as a whole: a crash leaves the old or the new one. Readable by its owner only (it has secrets)."""
    half = path.with_name(path.name + ".half")
    try:
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if account is not None:
            account.own(half)
        half.replace(path)
        sync_path(path.parent)
    except OSError as error:
        raise Environment(f"cannot write {path}: {error.strerror}", "free space, or repair the volume") from None


class Markers:
    """Reads and changes markers; changes of one member happen one after the other, off the event loop.

    Off the loop, because an fsync on a stuck volume must not stop the agent's pulse.
    """

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}

    @staticmethod
    def path(spec: MemberSpec) -> Path:
        return beside(spec, ".marker")

    def load(self, spec: MemberSpec) -> Marker | None:
        """The marker, None when there is none; one that cannot be read is an error, never 'none'."""
        path = self.path(spec)
        try:
            marker = msgspec.json.decode(path.read_bytes(), type=Marker)
        except FileNotFoundError:
            return None
        except (OSError, *UNREADABLE) as error:
            raise Environment(
                f"cannot read {path}: {error}", "the member may not start on a guess: rebuild it from its service"
            ) from None
        if marker.member != spec.member:
            raise Refused(
                f"{spec.data_dir} belongs to {marker.member}, not to {spec.member}", "give it another directory"
            )
        return marker

    async def change(self, spec: MemberSpec, step: Callable[[Marker | None], Marker | None]) -> Marker | None:
        """Load, apply `step`, write durably when it changed something; returns the marker in force."""
        async with self._locks.setdefault(spec.data_dir, asyncio.Lock()):
            before = self.load(spec)
            after = step(before)
            if after is not None and after != before:
                path = self.path(spec)
                path.parent.mkdir(parents=True, exist_ok=True)
                await in_thread(write_durably, path, msgspec.json.encode(after))
            return after
