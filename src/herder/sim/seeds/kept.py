"""A campaign that is kept in a file: it may be interrupted, even by kill -9, and goes on where it was.

Twenty thousand seeds take a night or several. The file holds what they came to together, not each one's counts; it is
written anew after each seed, whole. Seeds of other code prove nothing about this one, so a file belongs to one herder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

import herder
from herder.model.errors import UNREADABLE, Conflict, InvalidInput
from herder.sim.seeds.campaign import Failure, Tally, Wish
from herder.sim.seeds.counts import Counts

FORMAT = 1


class _Page(msgspec.Struct):
    """The file. code: a digest of the source that ran; done: seeds as (first, last) in a row."""

    format: int
    code: str
    hours: float | None
    services: int | None
    jitter: bool
    done: list[tuple[int, int]]
    seeds: int
    idle: int
    paged: int
    counts: dict[str, int | float]
    counters: dict[str, dict[str, int]]
    failures: list[Failure]


APART = (
    "agent",
    "api",
    "bench",
    "cli",
    "drivers",
    "lab",
    "proof",
    "providers",
    "sim/drill",
    "sim/sweep",
    "stores/postgres",
)
"""Rooms that no seed enters: what changes there says nothing against the seeds of before."""


def code_digest() -> str:
    """Of all source files of this herder that a seed may run, by their names and contents."""
    root, digest = Path(herder.__file__).parent, sha256()
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root).as_posix()
        if not name.startswith(tuple(f"{room}/" for room in APART)):
            digest.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


class Kept:
    """One campaign's file. done: the seeds that need not be run again; tally: what they came to."""

    def __init__(self, path: Path, wish: Wish, code: str) -> None:
        self._path = path
        self._wish = wish
        self._code = code
        self.tally = Tally()
        self.done: set[int] = set()
        if path.exists():
            self._read(path.read_bytes())

    def _read(self, data: bytes) -> None:
        try:
            page = msgspec.json.decode(data, type=_Page)
            _check(page)
        except UNREADABLE as error:
            raise InvalidInput(
                f"{self._path} is no kept campaign: {error}", "name a file that is not there yet"
            ) from None
        if page.format != FORMAT or page.code != self._code:
            raise InvalidInput(
                f"{self._path} was kept by other code of herder, whose seeds say nothing of this one",
                "name a file that is not there yet",
            )
        wish = self._wish
        if (page.hours, page.services, page.jitter) != (wish.hours, wish.services, wish.jitter):
            raise InvalidInput(
                f"{self._path} is a campaign with other options",
                "give the same --hours, --services and --jitter-only",
            )
        tally = self.tally = Tally(seeds=page.seeds, idle=page.idle, paged=page.paged, failures=page.failures)
        for name, count in page.counts.items():
            setattr(tally, name, count)
        for name, counter in page.counters.items():
            setattr(tally, name, Counter(counter))
        tally.kept_s, tally.done = tally.virtual_s, [*page.done]
        self.done = {seed for first, last in page.done for seed in range(first, last + 1)}

    def keep(self, seed: int) -> None:
        """A seed is done and counted in the tally: write the file anew."""
        tally, wish = self.tally, self._wish
        self.done.add(seed)
        tally.done = ranges(self.done)
        counts: dict[str, Any] = {each.name: getattr(tally, each.name) for each in fields(Counts)}
        page = _Page(
            FORMAT, self._code, wish.hours, wish.services, wish.jitter, tally.done, tally.seeds, tally.idle, tally.paged,
            {name: value for name, value in counts.items() if not isinstance(value, Counter)},
            {name: dict(value) for name, value in counts.items() if isinstance(value, Counter)}, tally.failures,
        )  # fmt: skip
        beside = self._path.with_name(self._path.name + ".new")
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(page)))
        beside.replace(self._path)


def _check(page: _Page) -> None:
    """Its seeds are counted as often as they are named, and its counts are ours. Raises msgspec.ValidationError."""
    named = {each.name for each in fields(Counts)}
    if sum(last - first + 1 for first, last in page.done) != page.seeds or any(a > b for a, b in page.done):
        raise msgspec.ValidationError("the seeds that are done are not those that were counted")
    if not {*page.counts, *page.counters} <= named:
        raise msgspec.ValidationError("it counts what nobody asked for")


def ranges(seeds: set[int]) -> list[tuple[int, int]]:
    """Numbers as (first, last) in a row."""
    found: list[tuple[int, int]] = []
    for seed in sorted(seeds):
        if found and found[-1][1] == seed - 1:
            found[-1] = (found[-1][0], seed)
        else:
            found.append((seed, seed))
    return found


@contextlib.contextmanager
def kept(path: Path, wish: Wish) -> Iterator[Kept]:
    """Open a campaign's file, or begin one; nobody else may have it open. Raises InvalidInput, Conflict."""
    beside = path.with_name(path.name + ".lock")
    try:
        lock = os.open(beside, os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as problem:
        raise InvalidInput(
            f"{path} cannot be kept: {problem.strerror}", "name a file in a directory that is there"
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(
                f"another herder sim keeps {path}", "wait until it has ended, or name another file"
            ) from None
        yield Kept(path, wish, code_digest())
    finally:
        os.close(lock)
