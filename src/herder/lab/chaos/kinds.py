"""The kinds of fault that chaos draws from, as data: on whom, for how long, how often, and what they need of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class On(StrEnum):
    """What a fault is on."""

    MEMBER = "member"
    PLANE = "control plane"


class Need(StrEnum):
    """What a machine must have for it."""

    NAMESPACES = "servers that are network namespaces (root and iproute2)"
    NFT = "nftables"
    TUN = "/dev/net/tun"
    MOUNTS = "mounting (root)"
    TIME = "time namespaces (root and unshare)"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. lasts_s: from and to, seconds; (0, 0) is over at once. share: how often, beside the others."""

    name: str
    what: str
    on: On
    lasts_s: tuple[float, float] = (0.0, 0.0)
    share: int = 2
    needs: tuple[Need, ...] = ()


_CABLE = (Need.NAMESPACES, Need.NFT)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("engine-killed", "kill -9 of the engine's first process", On.MEMBER, share=4),
        Kind("agent-killed", "kill -9 of a server's agent", On.MEMBER),
        Kind("host-killed", "kill -9 of everything on a server at once", On.MEMBER),
        Kind("host-frozen", "SIGSTOP of everything on a server, then SIGCONT", On.MEMBER, (1.0, 90.0), 4),
        Kind("link-down", "the cable of a server is pulled, then plugged in", On.MEMBER, (2.0, 30.0), 3, (Need.NAMESPACES,)),
        Kind("one-way", "packets between a server and one other address vanish in one direction", On.MEMBER, (5.0, 30.0), 3, _CABLE),
        Kind("loss", "20 % of a server's packets are lost in each direction", On.MEMBER, (10.0, 45.0), 2, _CABLE),
        Kind("delay", "everything that a server sends comes 300 ms later", On.MEMBER, (10.0, 45.0), 2, (*_CABLE, Need.TUN)),
        Kind("disk-full", "the disk with an engine's data has no byte left", On.MEMBER, (5.0, 30.0), 2, (Need.MOUNTS,)),
        Kind("controller-killed", "kill -9 of `herder up`; started again a while later", On.PLANE, (1.0, 15.0), 2),
        Kind("nats-killed", "kill -9 of herder's nats-server", On.PLANE),
        Kind("store-killed", "kill -9 of the first process of herder's own PostgreSQL", On.PLANE),
        Kind("clock-jump", "kill -9 of `herder up`; it comes back where the monotonic clock shows another time", On.PLANE,
             (1.0, 5.0), 1, (Need.TIME,)),
    )
}  # fmt: skip

LOSS_PERCENT = 20
DELAY_MS = 300

CLOCK_NOTE = (
    "the wall clock is the whole machine's, so it is left alone: clock-jump moves the controller's monotonic clock"
)
