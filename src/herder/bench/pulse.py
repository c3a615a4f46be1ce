"""`herder bench pulse`: how many members' heartbeats one controller process takes in, beside the raw limits.

Everything is the production code (codec, board, wire); the limits are measured in the same run: numpy's scatter of the
same rows, numpy's comparison of the same deadlines, the same frames over the same NATS with nobody folding them.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from herder.bench.failover import Say
from herder.bench.metrics import Anchor, Metric, metric
from herder.bench.pulse_sender import Frames, Order
from herder.drivers.binaries import nats_server
from herder.lab.rig import make_directory
from herder.pulse.board import Board
from herder.pulse.detector import Limits
from herder.wire.credentials import Authority, new_keys, new_user_seed, public_key
from herder.wire.nats import NatsWire
from herder.wire.own import OwnNats

RELAY = 1
FRAME_ROWS = 1_000
SCANS = 41
WINDOW_BYTES = 1024 * 1024
WINDOW_FRAMES = 2_000
"""In flight between sender and folder: enough to keep both at work, too little for the server to drop us."""

NATS_FRAMES_MAX = 5_000
"""Frames of one beat over NATS at most; with one member a frame that is a smaller fleet."""


def measure(members: int, seconds: float, sizes: Sequence[int], place: Path | None, say: Say) -> list[Metric]:
    """members: of the fleet, one a server. seconds: how long each size goes over NATS. sizes: members a frame."""
    found = [*_expect(members, say), *_folds(members, say), _scan(members, say)]
    found += asyncio.run(_nats(members, seconds, sizes, place, say))
    return found


def curve(metrics: Sequence[Metric]) -> dict[str, float | None]:
    """Members a frame -> members a second through NATS, from the metrics."""
    before = "nats_curve."
    return {each.name.removeprefix(before): each.value for each in metrics if each.name.startswith(before)}


def _board(members: int, order: np.ndarray[tuple[int], np.dtype[np.uint32]] | None = None) -> Board:
    board = Board(1.0, Limits(1.5, 8.0))
    servers = np.arange(1, members + 1, dtype=np.uint32) if order is None else order
    board.expect_many(servers, None, np.ones(members, np.uint32), 0.0)
    return board


def _expect(members: int, say: Say) -> list[Metric]:
    took = []
    for _ in range(3):
        began = time.perf_counter()
        _board(members)
        took.append(time.perf_counter() - began)
    say(f"expecting {members:,} servers: {min(took):.2f} s")
    return [metric("expect_s", "s", took, notes=[f"{members:,} servers put on the board at once"])]


# folding


def _folds(members: int, say: Say) -> list[Metric]:
    members -= members % FRAME_ROWS
    first, again = _fold(_board(members), members, 5)
    limit = _scatter(members, shuffled=False)
    why = f"numpy scatter of the same {FRAME_ROWS} rows into one array"
    notes = [f"frames of {FRAME_ROWS:,} over {members:,} members; goal >= 20,000,000"]
    found = [metric("fold_per_s", "members/s", again, anchor=Anchor(limit, why), notes=notes)]
    say(f"fold: {max(again):,.0f} members/s; numpy scatter alone {limit:,.0f}")
    found.append(
        metric("fold_first_per_s", "members/s", [first], notes=["every row checked: frames never seen before"])
    )
    shuffled = np.random.default_rng(1).permutation(np.arange(1, members + 1, dtype=np.uint32))
    _, mixed = _fold(_board(members, shuffled), members, 3)
    scattered = Anchor(_scatter(members, shuffled=True), f"{why}, all over it")
    notes = ["the worst order: a frame's servers all over the board"]
    found.append(metric("fold_scattered_per_s", "members/s", mixed, anchor=scattered, notes=notes))
    say(f"fold, servers all over the board: {max(mixed):,.0f} members/s; frames never seen before: {first:,.0f}")
    return found


def _fold(board: Board, members: int, beats: int, size: int = FRAME_ROWS) -> tuple[float, list[float]]:
    """Members a second of a core, of the first beat and of the others: decoded and folded from bytes, a second apart by
    the board's clock. CPU time, so that who else runs on this machine does not count.
    """
    frames, rates = Frames(RELAY, 1, members, size), []
    for beat in range(1, beats + 2):
        frames.beat()
        sent = [row.tobytes() for row in frames.bytes]
        began = time.process_time()
        for data in sent:  # one by one: nothing is gained by their coming together
            board.fold_frame(data, float(beat))
        rates.append(len(sent) * size / (time.process_time() - began))
    refused = sum(board.refused.values())
    if refused:
        raise RuntimeError(f"{refused} rows were refused: {dict(board.refused)}")
    return rates[0], rates[1:]


def _scatter(members: int, *, shuffled: bool) -> float:
    """Members/s that numpy alone writes into one array."""
    heard_at = np.zeros(members)
    slots = np.random.default_rng(1).permutation(members) if shuffled else np.arange(members)
    parts = np.split(slots, len(slots) // FRAME_ROWS)
    began = time.process_time()
    for now in range(5):
        for part in parts:
            heard_at[part] = now
    return round(5 * members / (time.process_time() - began))


def _scan(members: int, say: Say) -> Metric:
    board = _board(members)
    board.of_servers.deadline[:members:50_000] = -1.0
    board.of_servers.heard_at[:members:50_000] = -10.0
    took, limit = [], []
    deadlines = np.zeros(members)
    for _ in range(SCANS):
        began = time.perf_counter()
        board.silent(0.0)
        took.append((time.perf_counter() - began) * 1e3)
        began = time.perf_counter()
        _ = deadlines < -1.0
        limit.append((time.perf_counter() - began) * 1e3)
    alone = sorted(limit)[len(limit) // 2]
    say(f"scan of {members:,} deadlines: {sorted(took)[len(took) // 2]:.2f} ms; one comparison alone {alone:.2f} ms")
    anchor = Anchor(round(alone, 4), "numpy's comparison of as many", 2.0)
    return metric("scan_ms", "ms", took, anchor=anchor, notes=[f"{members:,} deadlines"])


# through NATS


async def _nats(members: int, seconds: float, sizes: Sequence[int], place: Path | None, say: Say) -> list[Metric]:
    found: list[Metric] = []
    directory = make_directory(prefix="herder-bench-", places=[place] if place else None)
    keys = new_keys(int(time.time()))
    server = OwnNats(str(nats_server()), directory, keys)
    try:
        await server.ensure()
        for size in sizes:
            found += await _one_size(server.url, keys, min(members, NATS_FRAMES_MAX * size), size, seconds, say)
    finally:
        await server.stop()
        shutil.rmtree(directory, ignore_errors=True)
    hundred = next((each for each in found if each.name == "nats_curve.100"), None)
    if hundred is not None:
        facts = hundred.facts() | {"name": "nats_per_s", "note": f"{hundred.note}; goal >= 3,000,000"}
        found.append(Metric(**facts))
    return found


class _Ear:
    """Counts frames, folds them when told to, and gives the sender credit for those it has taken."""

    def __init__(self, board: Board, frames: int, credit: int) -> None:
        self.board = board
        self.folding = True
        self.count = 0
        self._frames = frames
        self._credit = credit
        self._gathered: list[bytes] = []
        self._warm = asyncio.Event()
        self.pay: Callable[[bytes], object] = len

    def __call__(self, data: bytes) -> None:
        self.count += 1
        if self.count == 2 * self._frames:
            self._warm.set()
        if self.folding:
            self._gathered.append(data)
            if len(self._gathered) == 1:
                asyncio.get_running_loop().call_soon(self._fold)
        if not self.count % self._credit:
            self.pay(b"+")

    def _fold(self) -> None:
        """What one read brought, as fleet.watch does it; a beat of everybody is a second."""
        frames, self._gathered = self._gathered, []
        self.board.fold_frames(frames, self.count / self._frames)

    async def warm(self) -> None:
        """Everybody was heard twice: the first beat is learnt from."""
        async with asyncio.timeout(60):
            await self._warm.wait()

    async def rate(self, seconds: float, size: int) -> tuple[float, float]:
        """From now on: members a second, and members a second of this process's core."""
        count, began, used = self.count, time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        members = (self.count - count) * size
        return members / (time.perf_counter() - began), members / (time.process_time() - used)


async def _one_size(url: str, keys: str, members: int, size: int, seconds: float, say: Say) -> list[Metric]:
    members -= members % size
    frames = members // size
    alone = max(_fold(_board(members), members, 3, size)[1])
    window = max(min(WINDOW_BYTES // (33 * size + 64), WINDOW_FRAMES), 8)
    ear = _Ear(_board(members), frames, max(window // 8, 1))
    wire = NatsWire(url, keys)
    await wire.connect()
    try:
        await wire.subscribe_fleet(ear)
        async with _sender(url, keys, members, size, ear):
            await ear.warm()
            folded = [await ear.rate(seconds / 3, size) for _ in range(3)]
            refused = sum(ear.board.refused.values()) + ear.board.lost_frames
            ear.folding = False
            raw, _ = await ear.rate(seconds / 2, size)
    finally:
        await wire.close()
    if refused or wire.refused:
        raise RuntimeError(f"frames were refused or lost: {dict(ear.board.refused)}, {wire.refused}, {refused}")
    rates, of_core = [wall for wall, _ in folded], [cpu for _, cpu in folded]
    say(
        f"NATS, {size:,} a frame: {sorted(rates)[1]:,.0f} members/s ({sorted(of_core)[1]:,.0f} a second of this core); "
        f"nobody folding {raw:,.0f}; fold alone {alone:,.0f}"
    )
    anchor = Anchor(round(raw), "the same frames through the same NATS, counted and not folded")
    notes = [f"{size:,} members a frame, {members:,} members; fold alone {alone:,.0f}/s"]
    return [
        metric(f"nats_curve.{size}", "members/s", rates, anchor=anchor, notes=notes),
        metric(
            f"nats_core.{size}", "members/s", of_core, notes=["a second of the controller's core, not of the clock"]
        ),
        metric(f"fold_alone.{size}", "members/s", [alone], notes=[f"frames of {size:,} from memory"]),
    ]


@contextlib.asynccontextmanager
async def _sender(url: str, keys: str, members: int, size: int, ear: _Ear) -> AsyncIterator[None]:
    """The other process; it ends when its stdin does."""
    seed, (host, port) = new_user_seed(), url.removeprefix("nats://").split(":")
    credit = ear._credit  # noqa: SLF001  one agreement, two sides
    jwt = Authority(keys).relay_jwt(RELAY, public_key(seed))
    order = msgspec.json.encode(Order(host, int(port), jwt, seed, RELAY, members, size, credit))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from herder.bench.pulse_sender import main; main()", stdin=asyncio.subprocess.PIPE
    )
    stdin = process.stdin
    assert stdin is not None
    try:
        ear.pay = stdin.write
        stdin.write(order + b"\n" + b"+" * 8)
        yield
    finally:
        ear.pay = len
        stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
