"""Which /24 a herder's servers live in: asked for, or chosen from the data directory's tag and free on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from herder.model.errors import Environment, InvalidInput
from herder.providers import netns

LOOPBACK = IPv4Network("127.0.0.0/8")
_TRIES = 512
_LISTENING = "0A"


def parse(text: str, *, namespaces: bool) -> IPv4Network:
    """The `subnet` setting. Raises InvalidInput unless it is a private /24 (without namespaces: one of 127.0.0.0/8)."""
    try:
        subnet = IPv4Network(text)
    except ValueError as error:
        raise InvalidInput(f"'{text}' is not an IPv4 subnet: {error}", "give one like 10.77.3.0/24") from None
    if subnet.prefixlen != 24:
        raise InvalidInput(f"subnet {subnet} is a /{subnet.prefixlen}", "give a /24")
    if subnet.subnet_of(LOOPBACK) == namespaces or not subnet.is_private:
        place = "a private one outside 127.0.0.0/8" if namespaces else "one inside 127.0.0.0/8: there are no namespaces"
        raise InvalidInput(f"servers cannot live in {subnet}", f"give {place}")
    return subnet


def _private_candidates(seed: int) -> Iterator[IPv4Network]:
    """10.x.y first; the two smaller private ranges for machines where a VPN has all of 10.0.0.0/8."""
    for step in range(_TRIES):
        spot = (seed + step * 257) % (190 * 254)
        yield IPv4Network(f"10.{64 + spot // 254}.{1 + spot % 254}.0/24")
    for step in range(_TRIES):
        yield IPv4Network(f"172.{16 + (seed + step) % 16}.{(seed // 16 + step) % 256}.0/24")
    for step in range(256):
        yield IPv4Network(f"192.168.{(seed + step) % 256}.0/24")


def routed() -> list[IPv4Network]:
    """Every network this machine has an address in or a route to, the default route left out."""
    found = [
        IPv4Network(f"{entry['local']}/{entry['prefixlen']}", strict=False)
        for link in json.loads(netns.ip_json("-4", "addr") or "[]")
        for entry in link.get("addr_info", [])
        if "local" in entry
    ]
    routes = json.loads(netns.ip_json("-4", "route", "show", "table", "all") or "[]")
    ends = (route.get("dst", "default") for route in routes)
    return found + [IPv4Network(end, strict=False) for end in ends if end != "default"]


def free_private(tag: str) -> IPv4Network:
    """The same for the same directory as long as it is free. Raises Environment."""
    taken = routed()
    for subnet in _private_candidates(int(tag, 16)):
        if not any(subnet.overlaps(other) for other in taken):
            return subnet
    raise Environment(
        "no private /24 is free on this machine", "set `subnet` (HERDER_SUBNET) to one that servers may use"
    )


def check_free(subnet: IPv4Network) -> None:
    """Raises Environment when the machine already routes a part of `subnet`: its traffic would go two ways."""
    for other in routed():
        if subnet.overlaps(other):
            raise Environment(
                f"subnet {subnet} overlaps {other}, which this machine already uses", "choose another one"
            )


def _listening_loopback() -> set[IPv4Network]:
    """The /24s of 127.0.0.0/8 in which somebody listens."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, _, state = line.split()[1:4]
        address = IPv4Address(int.from_bytes(bytes.fromhex(local.partition(":")[0]), "little"))
        if state == _LISTENING and address in LOOPBACK:
            found.add(IPv4Network(f"{address}/24", strict=False))
    return found


def free_loopback(tag: str) -> IPv4Network:
    """127.x.y with x from 16: systemd-resolved, Debian's own name and other habits live in 127.0 and 127.1."""
    taken, seed = _listening_loopback(), int(tag, 16)
    for step in range(_TRIES):
        spot = (seed + step * 257) % (238 * 256)
        subnet = IPv4Network(f"127.{16 + spot // 256}.{spot % 256}.0/24")
        if subnet not in taken:
            return subnet
    raise Environment(
        "no 127.x.y.0/24 is free on this machine", "set `subnet` (HERDER_SUBNET) to one that servers may use"
    )
