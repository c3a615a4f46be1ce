"""The loop: the one place that waits. It gathers inputs, commits them as one record, and starts what is due then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from herder.engine.bulk import due
from herder.engine.decide import Input, Review
from herder.engine.effects import EffectRunner
from herder.engine.queue import BATCH, Queue
from herder.engine.shard import Committed, Item, Proposal, Shard, ShardLost
from herder.engine.world import World
from herder.model.errors import Refused, Unreachable
from herder.ports.clock import Clock

log = logging.getLogger("herder.engine")

SHORTEST_NAP_S = 0.05
LONGEST_NAP_S = 1.0
"""Between looks at what is due by itself. Not longer, since the wall clock that deadlines go by may jump."""

STORE_RETRY_S = 0.5


class Loop:
    """Feeds one shard. Inputs come from effects, the pulse and deadlines; proposals from people."""

    def __init__(self, shard: Shard, clock: Clock, review: Review) -> None:
        self.shard = shard
        self.clock = clock
        self.review = review
        self.effects: EffectRunner | None = None
        self._queue = Queue()
        self._proposals: list[tuple[Proposal, asyncio.Future[Committed]]] = []
        self._wake = asyncio.Event()
        self._watchers: list[Callable[[Committed], None]] = []
        self.store_down_since: float | None = None
        self.dropped = 0
        self.frozen = ""
        self._since_ms = 0

    @property
    def world(self) -> World:
        """What is committed."""
        return self.shard.world

    def submit(self, item: Item) -> None:
        """Put an event in, for one machine or for many; it is decided when its turn comes."""
        self._queue.put(item, self.world)
        self._wake.set()

    async def propose(self, proposal: Proposal) -> Committed:
        """Run a command and wait for its commit. Raises what the proposal raises, Conflict, or Unreachable."""
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._proposals.append((proposal, future))
        self._wake.set()
        return await future

    def freeze(self, why: str) -> None:
        """Begin nothing more by itself and refuse commands: what is known here cannot be trusted. Ends with a restart
        over a store that is whole again. The data services go on.
        """
        if not self.frozen:
            self.frozen = why
            log.critical("frozen: %s", why)

    def _refuse_when_frozen(self) -> None:
        if self.frozen:
            raise Refused(f"this control plane is frozen: {self.frozen}", "herder status; repair the store first")

    def watch(self, on_commit: Callable[[Committed], None]) -> Callable[[], None]:
        """Call `on_commit` after each commit; returns how to stop that."""
        self._watchers.append(on_commit)
        return lambda: self._watchers.remove(on_commit)

    async def run(self) -> None:
        """Until cancelled or the shard is lost. Starts every effect that is due first."""
        if self.effects is None:
            raise RuntimeError("the loop has no effects to run")
        self._since_ms = self.clock.now_ms()
        self.effects.start(self.world)
        following = asyncio.create_task(self.shard.follower.run(), name="projection")
        following.add_done_callback(_tell_of_its_end)
        try:
            while True:
                await self._round()
        finally:
            following.cancel()
            for _, future in self._proposals:
                _answer(future, Unreachable("this control plane is ending", "ask again when it is up"))

    async def _round(self) -> None:
        """Wait for something to decide, then commit commands, then events and deadlines, then one part of a bulk."""
        nap = asyncio.get_running_loop().call_later(self._nap_s(), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            nap.cancel()
        self._wake.clear()
        await self._proposals_once()
        self._queue_deadlines()
        singles = self._queue.singles()
        if singles or self.shard.unsure or self._looks_are_due():
            await self._commit_surely(singles)
        part = self._queue.bulk()
        if part is not None:
            await self.shard.follower.room(STORE_RETRY_S)
            committed = await self._commit_surely([part])
            for single in committed.singles:
                self._queue.put(single, self.world)
        if len(self._queue):
            self._wake.set()

    def _looks_are_due(self) -> bool:
        """Some service is to be looked at again. Where none is, deciding on nothing comes to nothing."""
        due_ms = self.world.attention.next_ms()
        return due_ms is not None and due_ms <= self.clock.now_ms()

    def _nap_s(self) -> float:
        """Until the next thing that is due by itself. Never long: wall clocks jump."""
        due_ms = self.world.next_ms()
        if due_ms is None:
            return LONGEST_NAP_S
        return min(max((due_ms - self.clock.now_ms()) / 1000, SHORTEST_NAP_S), LONGEST_NAP_S)

    def _queue_deadlines(self) -> None:
        """Those that have passed, unless what is queued already may be the same: they pass again at the next round."""
        if self._queue.waiting >= BATCH:
            return
        for item in due(self.world, self.clock.now_ms(), self._since_ms):
            if isinstance(item, Input) or not self._queue.bulks:
                self._queue.put(item, self.world)

    async def _proposals_once(self) -> None:
        """Each command is a record of its own, so that a taken name fails nobody else."""
        while self._proposals:
            proposal, future = self._proposals.pop(0)
            if future.done():
                continue
            try:
                self._refuse_when_frozen()
                committed = await self._commit(proposal)
            except ShardLost as lost:
                _answer(future, lost)
                raise
            except Exception as error:  # noqa: BLE001  whoever proposed it handles it
                _answer(future, error)
            else:
                _answer(future, committed)

    async def _commit_surely(self, inputs: Sequence[Item]) -> Committed:
        """The store may be gone for a while: nothing is decided then, and nothing is lost (data services go on)."""
        while True:
            try:
                committed = await self._commit(inputs)
            except Unreachable as error:
                if self.store_down_since is None:
                    self.store_down_since = self.clock.monotonic()
                    log.exception("the store does not answer: %s; data services keep serving", error.message)
                await self.clock.sleep(STORE_RETRY_S)
            else:
                if self.store_down_since is not None:
                    log.warning("the store is back after %.1f s", self.clock.monotonic() - self.store_down_since)
                    self.store_down_since = None
                return committed

    async def _commit(self, inputs: Sequence[Item] | Proposal) -> Committed:
        committed = await self.shard.commit(inputs, None if self.frozen else self.review)
        self.dropped += len(committed.decision.dropped)
        for item, reason in committed.decision.dropped:
            log.debug("dropped %s for %s: %s", item.event, item.machine, reason)
        if committed.moves or committed.spans:
            self._start_effects(committed)
            for watcher in list(self._watchers):
                watcher(committed)
        return committed

    def _start_effects(self, committed: Committed) -> None:
        if self.effects is None:
            return
        self.effects.follow(self.world, dict.fromkeys(committed.moved))
        for span in committed.spans:
            kind, _, _, target = span.words
            self.effects.follow_many(self.world, kind, target, span.machines)

    def facts(self) -> dict[str, Any]:
        """What `herder status` says of the engine."""
        return {"seq": self.world.seq, "epoch": self.world.epoch, "machines": len(self.world.machines), "waiting": len(self._queue),
                "dropped": self.dropped, "frozen": self.frozen, "store_down": self.store_down_since is not None,
                "effects": self.effects.busy() if self.effects else []}  # fmt: skip


def _tell_of_its_end(task: asyncio.Task[None]) -> None:
    """The projection may end; the log goes on, and people must know that rows do not."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the projection follows no more: herder rebuild-projection, after a restart", exc_info=error)


def _answer(future: asyncio.Future[Committed], answer: Committed | Exception) -> None:
    """Whoever asked may have left meanwhile."""
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
