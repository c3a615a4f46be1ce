"""The agent's promises on disk: the highest (term, order) of each member, its spec, and the results of finished jobs.

One small file, written anew each time: temporary file, fsync, rename, fsync of the directory. Killed at any point, the
old version or the new one is there. When it cannot be written the agent promises nothing: jobs are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from herder.ports.driver import MemberSpec
from herder.ports.wire import JobStatus

LEDGER_VERSION = 1

RESULTS_KEPT = 256
"""A controller asks again within seconds; an evicted intent would run again, and every driver call is idempotent."""

FORGOTTEN_KEPT = 1024
"""Members that left keep their (term, order), so that a late job cannot make them anew."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One member. spec None: forgotten, only the mark is kept. lease_s: the lease it runs under, 0 = none."""

    term: int
    order: int
    spec: MemberSpec | None = None
    lease_s: float = 0.0

    @property
    def mark(self) -> tuple[int, int]:
        """What a job must not be lower than."""
        return (self.term, self.order)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended; given again to whoever asks with the same intent."""

    member: str
    name: str
    status: JobStatus
    result: Any = None
    error: str = ""
    hint: str = ""
    code: str = ""


class _Book(msgspec.Struct, kw_only=True):
    version: int = LEDGER_VERSION
    members: dict[str, Entry] = {}
    outcomes: dict[str, Outcome] = {}


class LedgerBroken(Exception):
    """It cannot be written (or was not readable at start); the text says why."""


class Ledger:
    """Memory and file. Memory may run ahead of a file that cannot be written, but a mark never goes back in either."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = asyncio.Lock()
        # One thread: a disk that hangs in fsync must not stop the pulse, and writes must not overtake each other.
        self._disk = ThreadPoolExecutor(1, "ledger")
        self._unreadable = ""
        self.broken = ""
        self._book = self._load()

    def entry(self, member: str) -> Entry | None:
        """What is promised for a member."""
        return self._book.members.get(member)

    def outcome(self, intent: str) -> Outcome | None:
        """The stored end of a job."""
        return self._book.outcomes.get(intent)

    @property
    def directory(self) -> Path:
        """Where it lies; what belongs to the same promises lies beside it."""
        return self._path.parent

    def lease_s(self, member: str) -> float:
        """The lease that a member runs under, 0 = none."""
        entry = self._book.members.get(member)
        return entry.lease_s if entry is not None else 0.0

    def specs(self) -> list[MemberSpec]:
        """The members to look after."""
        return [entry.spec for entry in self._book.members.values() if entry.spec is not None]

    async def admit(self, member: str, term: int, order: int, spec: MemberSpec) -> None:
        """Promise durably to refuse anything lower. Raises LedgerBroken."""
        old = self._book.members.get(member)
        new = Entry(term=term, order=order, spec=spec, lease_s=old.lease_s if old is not None else 0.0)
        if old == new and not self.broken:
            return
        self._put(member, new)
        await self._write()

    async def keep(self, intent: str, outcome: Outcome) -> None:
        """Store how a job ended. Raises LedgerBroken; it is remembered in memory all the same."""
        self._book.outcomes[intent] = outcome
        while len(self._book.outcomes) > RESULTS_KEPT:
            self._book.outcomes.pop(next(iter(self._book.outcomes)))
        await self._write()

    async def bind(self, member: str, lease_s: float) -> None:
        """Keep durably under which lease a member runs. Raises LedgerBroken."""
        entry = self._book.members.get(member)
        if entry is not None and (entry.lease_s != lease_s or self.broken):
            self._put(member, msgspec.structs.replace(entry, lease_s=lease_s))
            await self._write()

    async def forget(self, member: str) -> None:
        """Look after it no more; its mark stays. Raises LedgerBroken."""
        entry = self._book.members.get(member)
        if entry is not None and entry.spec is not None:
            self._put(member, msgspec.structs.replace(entry, spec=None, lease_s=0.0))
            await self._write()

    async def mend(self) -> None:
        """Try again when the last write failed, so that a disk with room again ends the refusals by itself."""
        if self.broken and not self._unreadable and not self._turn.locked():
            with contextlib.suppress(LedgerBroken):
                await self._write()

    def close(self) -> None:
        """Let go without waiting: a write that hangs must not keep the agent from ending."""
        self._disk.shutdown(wait=False, cancel_futures=True)

    def _put(self, member: str, entry: Entry) -> None:
        members = self._book.members
        members.pop(member, None)  # to the end, so that the oldest stand first
        members[member] = entry
        forgotten = [name for name, each in members.items() if each.spec is None]
        for name in forgotten[: max(0, len(forgotten) - FORGOTTEN_KEPT)]:
            del members[name]

    async def _write(self) -> None:
        if self._unreadable:
            raise LedgerBroken(self._unreadable)
        async with self._turn:
            data = _sealed(self._book)
            try:
                await asyncio.get_running_loop().run_in_executor(self._disk, write_durably, self._path, data)
            except OSError as error:
                self.broken = f"the agent's ledger cannot be written: {error.strerror or error}"
                raise LedgerBroken(self.broken) from None
            self.broken = ""

    def _load(self) -> _Book:
        """A ledger that is there but cannot be read is not an empty one: terms would go back. It refuses everything."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return _Book()
        except OSError as error:
            self._unreadable = self.broken = f"the agent's ledger cannot be read: {error.strerror or error}"
            return _Book()
        try:
            return _opened(data)
        except ValueError as error:
            self._unreadable = self.broken = f"the agent's ledger {self._path} is not usable: {error}"
            return _Book()


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file so that after a crash the old or the new version is there, whole. 0600. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames in a directory survive a power cut. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sealed(book: _Book) -> bytes:
    body = msgspec.json.encode(book)
    return b"%08x\n" % zlib.crc32(body) + body


def _opened(data: bytes) -> _Book:
    seal, newline, body = data.partition(b"\n")
    if not newline or seal != b"%08x" % zlib.crc32(body):
        raise ValueError("its checksum does not match")
    try:
        book = msgspec.json.decode(body, type=_Book)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None
    if book.version > LEDGER_VERSION:
        raise ValueError(f"version {book.version} was written by a newer herder")
    return book
