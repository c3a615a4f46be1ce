"""Second kills after one first one: up to where they part their runs are one, so it is played once, and the process forks there.

Most of a run comes before its second kill: the service is made, and the first kill is made good. Played from its beginning each
pair takes three times as long.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import select
import signal
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from herder.sim.sweep.points import Kill

T = TypeVar("T")

SILENT_S = 120.0
"""Real seconds that a child may take, a hundred times what one does: a fork beside threads may hang for ever on a lock of theirs."""


class Fork:
    """Where runs part. mine: in a child the kill that it plays. told: in the parent what each child said, in the order of points."""

    def __init__(self, kills: Sequence[Kill]) -> None:
        self._planned: dict[int, list[Kill]] = {}
        for kill in kills:
            self._planned.setdefault(kill.point, []).append(kill)
        self._answer = -1
        self.mine: Kill | None = None
        self.told: list[Any] = []
        self.lost: list[Kill] = []

    def at(self, number: int) -> Kill | None:
        """A point is reached. Returns a kill in the child that is to play it, and None in the parent once all of them ended."""
        for kill in self._planned.pop(number, ()):
            if self._part(kill):
                return kill
        return None

    def _part(self, kill: Kill) -> bool:
        """Whether this is the child."""
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            gc.disable()
            asyncio._set_running_loop(loop)  # noqa: SLF001  which loop runs is known by the number of the process
            self._planned.clear()
            self.mine, self._answer = kill, writing
            return True
        os.close(writing)
        if said := _heard(reading, child):
            self.told.append(pickle.loads(said))  # noqa: S301  from our own child
        else:
            self.lost.append(kill)  # raised here it would be a crash of whoever reached the point
        return False

    def answer(self, words: Any) -> None:
        """In a child: what it has to say."""
        with os.fdopen(self._answer, "wb") as answer:
            pickle.dump(words, answer)


def _heard(reading: int, child: int) -> bytes:
    """What the child says until it ends; one that is silent for too long is ended."""
    said = b""
    try:
        while select.select([reading], [], [], SILENT_S)[0]:
            if not (part := os.read(reading, 1 << 16)):
                return said
            said += part
        os.kill(child, signal.SIGKILL)
        return b""
    finally:
        os.close(reading)
        os.waitpid(child, 0)


def parted(play: Callable[[Fork], T], seconds: Sequence[Kill], tell: Callable[[T], Any]) -> list[Any]:
    """What `tell` says of the run of each second kill. play: the run of the first one, with this fork in its knife.

    Raises RuntimeError when a child did not say anything.
    """
    fork = Fork(seconds)
    try:
        run = play(fork)
        if fork.mine is not None:
            fork.answer(tell(run))
    finally:
        if fork.mine is not None:
            os._exit(0)  # a child is not this program: nothing after this is its business
    if fork.lost or len(fork.told) < len(seconds):
        raise RuntimeError(f"{len(seconds) - len(fork.told)} of {len(seconds)} runs said nothing: {fork.lost[:3]}")
    return fork.told
