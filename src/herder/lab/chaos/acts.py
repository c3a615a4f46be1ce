"""Doing the faults: each kind begins on a target as it is at that moment, and gives back what ends it.

Raises NotPossible where the target or the machine does not have what it needs just then; nothing is pretended.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from herder.lab import faults
from herder.lab.chaos.bounds import Bounds
from herder.lab.chaos.kinds import DELAY_MS, KINDS, LOSS_PERCENT, Need
from herder.lab.delay import Delay
from herder.lab.rig import Rig
from herder.model.errors import HerderError
from herder.providers import procs

Facts = dict[str, Any]
Undo = Callable[[], str]
"""Ends the fault; says what there is to say about how it ended, '' mostly."""

DISK_MB = 512
"""Of the small disk below an engine's data: enough for what a run writes and for a second copy while one is rebuilt."""

CLOCK_S = (86_400, 30 * 86_400)
"""Seconds by which the controller's monotonic clock is moved, from and to."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a fault meets. member, server: as `show` and `servers`; peers: addresses that the server speaks with."""

    member: Facts
    server: Facts
    peers: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.member['id']} on {self.server['id']} ({self.member['role']})"


def possible(rig: Rig) -> dict[Need, bool]:
    """What this machine has. Asked once there is a server."""
    root = os.geteuid() == 0
    return {
        Need.NAMESPACES: rig.namespaces,
        Need.NFT: shutil.which("nft") is not None,
        Need.TUN: root and os.access("/dev/net/tun", os.W_OK),
        Need.MOUNTS: root,
        Need.TIME: root and _has_time_namespaces(),
    }


def _has_time_namespaces() -> bool:
    if shutil.which("unshare") is None:
        return False
    look = "import time; print(time.monotonic())"
    try:
        told = subprocess.run(
            [*_moved(1_000_000_000), sys.executable, "-c", look],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        return told.returncode == 0 and float(told.stdout) > 1_000_000_000
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False


def _moved(by_s: int) -> list[str]:
    return ["unshare", "--time", f"--monotonic={by_s}"]


class Acts:
    """The faults of one rig."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._bounds = Bounds(rig.path)

    def begin(self, kind: str, target: Target | None, way: float) -> tuple[str, Undo | None]:
        """What was done, in words, and what ends it. Raises NotPossible, Refused."""
        if target is None:
            return self._PLANE[kind](self, way)
        self._bounds.check_server(target.server)
        return self._MEMBER[kind](self, target, way)

    def prepare_disk(self, server: Facts) -> None:
        """Lay a small disk below the server's engine. All of it is killed for that: an open file would stay outside."""
        self._bounds.check_server(server)
        faults.kill_host(server)
        faults.small_disk(_data(server), DISK_MB)

    # --- on a member and its server -------------------------------------------------------------------------------

    def _engine_killed(self, target: Target, way: float) -> tuple[str, Undo | None]:
        self._bounds.kill(int(target.member["pid"]))
        return str(target), None

    def _agent_killed(self, target: Target, way: float) -> tuple[str, Undo | None]:
        self._bounds.kill(int(target.server["agent_pid"]))
        return str(target), None

    def _host_killed(self, target: Target, way: float) -> tuple[str, Undo | None]:
        faults.kill_host(target.server)
        return str(target), None

    def _host_frozen(self, target: Target, way: float) -> tuple[str, Undo | None]:
        faults.freeze(target.server)
        return str(target), functools.partial(_thaw, target.server)

    def _link_down(self, target: Target, way: float) -> tuple[str, Undo | None]:
        faults.silence(target.server)
        return str(target), functools.partial(_ended, faults.unsilence, target.server)

    def _one_way(self, target: Target, way: float) -> tuple[str, Undo | None]:
        """way: chooses the peer and the direction."""
        choices = [(peer, outgoing) for peer in target.peers for outgoing in (True, False)]
        (name, address), outgoing = choices[min(int(way * len(choices)), len(choices) - 1)]
        for there in {address, *(a for n, a in target.peers if n == name)}:
            faults.drop_one_way(target.server, there, outgoing=outgoing)
        arrow = "to" if outgoing else "from"
        return f"{target}, nothing {arrow} {name}", functools.partial(_ended, faults.heal, target.server)

    def _loss(self, target: Target, way: float) -> tuple[str, Undo | None]:
        faults.lose(target.server, LOSS_PERCENT)
        return str(target), functools.partial(_ended, faults.heal, target.server)

    def _delay(self, target: Target, way: float) -> tuple[str, Undo | None]:
        late = Delay(target.server, DELAY_MS).start()
        return str(target), functools.partial(_ended, lambda _: late.stop(), target.server)

    def _disk_full(self, target: Target, way: float) -> tuple[str, Undo | None]:
        where = _data(target.server)
        faults.full_disk(where)
        return str(target), functools.partial(_ended, lambda _: faults.free_disk(where), target.server)

    # --- on the control plane -------------------------------------------------------------------------------------

    def _controller_killed(self, way: float) -> tuple[str, Undo | None]:
        self._kill_controller()
        return "herder up", functools.partial(self._start_controller, ())

    def _clock_jump(self, way: float) -> tuple[str, Undo | None]:
        by_s = int(CLOCK_S[0] + way * (CLOCK_S[1] - CLOCK_S[0]))
        self._kill_controller()
        return f"herder up, by {by_s:,} s", functools.partial(self._start_controller, _moved(by_s))

    def _nats_killed(self, way: float) -> tuple[str, Undo | None]:
        words = f"{self._rig.path}/nats/nats.conf"
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and words in procs.command_line(int(name))]
        if not pids:
            raise faults.NotPossible("no nats-server runs just now")
        for pid in pids:
            self._bounds.kill(pid)
        return f"nats-server {pids[0]}", None

    def _store_killed(self, way: float) -> tuple[str, Undo | None]:
        try:
            pid = int((self._rig.path / "store/data/postmaster.pid").read_text(encoding="ascii").split()[0])
        except (OSError, ValueError, IndexError) as error:
            raise faults.NotPossible("no store runs just now") from error
        self._bounds.kill(pid)
        return f"postgres {pid}", None

    def _kill_controller(self) -> None:
        process = self._rig.process
        if process is None or process.poll() is not None:
            raise faults.NotPossible("no controller runs just now")
        self._bounds.check_process(process.pid)
        self._rig.kill_control_plane(everything=False)

    def _start_controller(self, through: Sequence[str]) -> str:
        took = self._rig.start_control_plane(through=through)
        return f"answers again {took:.1f} s after its start"

    _MEMBER: ClassVar = {
        "engine-killed": _engine_killed, "agent-killed": _agent_killed, "host-killed": _host_killed,
        "host-frozen": _host_frozen, "link-down": _link_down, "one-way": _one_way, "loss": _loss, "delay": _delay,
        "disk-full": _disk_full,
    }  # fmt: skip
    _PLANE: ClassVar = {
        "controller-killed": _controller_killed, "nats-killed": _nats_killed, "store-killed": _store_killed,
        "clock-jump": _clock_jump,
    }  # fmt: skip
    assert set(KINDS) == {*_MEMBER, *_PLANE}


def _data(server: Facts) -> Path:
    return Path(str(server["directory"])) / "data"


def _thaw(server: Facts) -> str:
    with suppress(faults.NotPossible):  # all of it was fenced meanwhile, and its namespace is gone
        faults.thaw(server)
    return ""


def _ended(undo: Callable[[Any], Any], server: Facts) -> str:
    try:
        undo(server)
    except (HerderError, OSError) as error:  # replaced meanwhile: there is no such cable or disk any more
        return f"nothing left to mend: {error}"
    return ""
