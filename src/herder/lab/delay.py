"""A cable that is slow: what a server sends is handed on later. A process of its own: `python -m herder.lab.delay`.

`tc netem` is not in every kernel. Here nftables hands each frame that leaves the server's link to a tap device; this
process keeps it for a while and sends it out with a mark that lets it pass. The cable stays in the bridge, so a provider
that unplugs it, ends the server or removes the namespace finds what it made. It ends when its stdin does.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Self

from herder.lab.faults import NotPossible
from herder.providers import netns

TAP = "hrd-delay"
MARK = 0x6865

MOST_FRAMES = 20_000
"""Kept at once, as a switch has a buffer: what comes on top is dropped."""

READY_S = 15.0
"""Seconds until the process must have laid its tap; an import on a busy machine takes most of it."""

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
_FRAME_BYTES = 1 << 16
_TABLE = "netdev faults_delay"

_RULES = f"""add table {_TABLE}
add chain {_TABLE} from_server {{ type filter hook egress device "{netns.INSIDE_LINK}" priority 0; policy accept; }}
add rule {_TABLE} from_server meta mark != {MARK} fwd to "{TAP}"
"""


class Delay:
    """A server whose packets come late by `late_ms`, from `start` to `stop`. Raises NotPossible where it cannot be."""

    def __init__(self, server: Mapping[str, Any], late_ms: int) -> None:
        self._namespace = str(server.get("namespace") or "")
        self._late_ms = late_ms
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Returns once every packet is late."""
        if not self._namespace:
            raise NotPossible(
                "servers share the host's network here", "run herder as root, so that each has a namespace"
            )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "herder.lab.delay", self._namespace, str(self._late_ms)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        answered, _, _ = select.select([self._process.stdout], [], [], READY_S)
        said = self._process.stdout.readline() if answered else b""
        told = json.loads(said) if said else {"error": f"the delay on {self._namespace} was not laid"}
        if told["error"]:
            self.stop()
            raise NotPossible(told["error"])
        return self

    def stop(self) -> None:
        """The cable is as it was; what was still kept is lost. Safe to call twice."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(READY_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._process = None


# --- the process --------------------------------------------------------------------------------------------------


def _lay() -> tuple[int, socket.socket]:
    """Inside the namespace: a tap that frames are handed to, and a socket whose frames are let through."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", TAP.encode(), _IFF_TAP | _IFF_NO_PI))
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # 0: it receives nothing
    out.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
    out.bind((netns.INSIDE_LINK, 0))
    return tap, out


def _nft(namespace: str, text: str) -> str:
    """What nft complained of; '' when it did as told."""

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["nft", "-f", "-"], input=text, capture_output=True, text=True, timeout=10, check=False)

    done = netns.inside(namespace, run)
    return done.stderr.strip() if done.returncode else ""


def hand_on(tap: int, out: socket.socket, late_s: float) -> None:
    """Frames from the tap to the socket, each `late_s` later, until stdin ends."""
    kept: deque[tuple[float, bytes]] = deque()
    while True:
        now = time.monotonic()
        while kept and kept[0][0] <= now:
            with contextlib.suppress(OSError):  # the link is off: what is sent then is lost
                out.send(kept.popleft()[1])
        wait_s = kept[0][0] - now if kept else None
        ready, _, _ = select.select([tap, 0], [], [], wait_s)
        if 0 in ready and not os.read(0, 1024):
            return
        if tap in ready:
            _take(tap, kept, late_s)


def _take(tap: int, kept: deque[tuple[float, bytes]], late_s: float) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            frame = os.read(tap, _FRAME_BYTES)
            if len(kept) < MOST_FRAMES:
                kept.append((time.monotonic() + late_s, frame))


def main(namespace: str, late_ms: int) -> None:
    """The process: one line of JSON when all packets are late, or with what was in the way."""
    try:
        tap, out = netns.inside(namespace, _lay)
        netns.ip([f"link set {TAP} addrgenmode none", f"link set {TAP} arp off", f"link set {TAP} up"], namespace)
        wrong = _nft(namespace, _RULES)
    except (OSError, netns.IpFailed) as error:
        print(json.dumps({"error": f"no delay on {namespace}: {error}"}), flush=True)
        return
    print(json.dumps({"error": wrong}), flush=True)
    try:
        if not wrong:
            hand_on(tap, out, late_ms / 1000)
    finally:
        with contextlib.suppress(OSError):  # the namespace is gone, and its rules with it
            _nft(namespace, f"delete table {_TABLE}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
