"""Network namespaces as servers: a bridge, a namespace a server, a veth pair between them. Needs root and `ip`.

All names begin with a tag made from the data directory, so that several herders live on one machine and each finds
exactly what it made. Names are a function of the tag and the server; nothing has to be remembered to clean up.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from herder.model.errors import Environment

T = TypeVar("T")

RUN_NETNS = Path("/run/netns")
INSIDE_LINK = "eth0"

_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCBRDELIF = 0x8913, 0x8914, 0x89A3
_IFF_UP = 0x1
_ETH_P_ARP = 0x0806
_IP_TIMEOUT_S = 10.0
_libc = ctypes.CDLL(None, use_errno=True)


def tag_of(directory: Path) -> str:
    """Six hex digits that stand for a data directory in the names of kernel objects."""
    return hashlib.sha256(os.fsencode(os.path.realpath(directory))).hexdigest()[:6]


def bridge_name(tag: str) -> str:
    """At most 15 characters, as the kernel wants."""
    return f"hrd-{tag}"


def namespace_name(tag: str, server: str) -> str:
    """`ip netns` shows it to people, so it carries the server's name."""
    return f"hrd-{tag}-{server}"


def link_name(namespace: str) -> str:
    """The host's end of a server's cable. 15 characters leave no room for the server's name, so: tag and a hash."""
    tag = namespace.split("-", 2)[1]
    return f"v{tag}-{hashlib.sha256(namespace.encode()).hexdigest()[:7]}"


def mac_of(name: str) -> str:
    """A local address that stays the same when the thing is made again, so that neighbours' caches stay true.

    Without a fixed one a bridge takes the lowest of its ports' and changes it whenever a server comes or goes.
    """
    digest = hashlib.sha256(name.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


class IpFailed(Environment):
    """The `ip` program refused; the message is its own."""


def ip(lines: Iterable[str], namespace: str = "", *, tolerant: bool = False) -> None:
    """Run `ip` commands in one process (a fork each would cost more than the work). Stops at the first that fails.

    tolerant: go on, and fail silently: for removals, where the thing may be gone already. Raises IpFailed.
    """
    command = ["ip", *(["-n", namespace] if namespace else []), *(["-force"] if tolerant else []), "-batch", "-"]
    done = subprocess.run(
        command, input="\n".join([*lines, ""]), capture_output=True, text=True, timeout=_IP_TIMEOUT_S, check=False
    )
    if done.returncode and not tolerant:
        raise IpFailed(f"ip: {done.stderr.strip() or f'exit {done.returncode}'}", "see `ip link` and `ip netns`")


def ip_json(*arguments: str) -> str:
    """What `ip -json ...` prints. Raises IpFailed."""
    done = subprocess.run(
        ["ip", "-json", *arguments], capture_output=True, text=True, timeout=_IP_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise IpFailed(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def link_exists(name: str) -> bool:
    """Asked by name over a socket: /sys may be another namespace's."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def inode_of(namespace: str) -> int | None:
    """The namespace's number, as /proc/PID/ns/net shows it; None when there is none of that name.

    A plain file there (a name whose mount a reboot or a private mount tree lost) is on the directory's own device.
    """
    try:
        there = os.stat(RUN_NETNS / namespace)
        if there.st_dev == os.stat(RUN_NETNS).st_dev:
            return None
    except FileNotFoundError:
        return None
    return there.st_ino


def names_of(tag: str) -> list[str]:
    """Every namespace with this tag."""
    try:
        return sorted(name for name in os.listdir(RUN_NETNS) if name.startswith(f"hrd-{tag}-"))
    except FileNotFoundError:
        return []


def links_of(tag: str) -> list[str]:
    """Every host end with this tag."""
    return [name for _, name in socket.if_nameindex() if name.startswith(f"v{tag}-")]


def make_bridge(name: str, gateway: str = "") -> None:
    """Make the bridge, or leave it as it is. Ports forward at once: no spanning tree, no learning delay."""
    lines = []
    if not link_exists(name):
        lines += [
            f"link add {name} address {mac_of(name)} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {name} addrgenmode none",
        ]
    lines += [f"addr replace {gateway}/24 dev {name}"] if gateway else []
    ip([*lines, f"link set {name} up"])


def remove_link(name: str) -> None:
    """Remove a bridge or a cable; nothing happens when there is none."""
    if link_exists(name):
        ip([f"link del {name}"], tolerant=True)


def make_namespace(namespace: str, bridge: str, addresses: Iterable[str], *, connect: bool) -> None:
    """Make a namespace and its cable as far as they are missing; the first address is the server's own.

    connect=False leaves the cable as it is when it is there, and unplugged when it is new.
    """
    link = link_name(namespace)
    lines = []
    if inode_of(namespace) is None:
        (RUN_NETNS / namespace).unlink(missing_ok=True)
        lines += [f"link del {link}"] if link_exists(link) else []
        lines.append(f"netns add {namespace}")
    if not link_exists(link) or lines:
        peer = f"peer name {INSIDE_LINK} address {mac_of(namespace)} netns {namespace}"
        lines += [f"link add {link} type veth {peer}", f"link set {link} addrgenmode none"]
    if connect:
        lines.append(f"link set {link} master {bridge} up")
    if lines:
        ip(lines)
    inside = ["link set lo up", f"link set {INSIDE_LINK} addrgenmode none"]
    inside += [f"addr replace {address}/24 dev {INSIDE_LINK}" for address in addresses]
    ip([*inside, f"link set {INSIDE_LINK} up"], namespace)


def add_address(namespace: str, address: str) -> None:
    """One more address on the server's link."""
    ip([f"addr replace {address}/24 dev {INSIDE_LINK}"], namespace)


def drop_address(namespace: str, address: str) -> None:
    """Take an address away; nothing happens when it, or the namespace, is not there."""
    if inode_of(namespace) is not None:
        ip([f"addr del {address}/24 dev {INSIDE_LINK}"], namespace, tolerant=True)


def remove_namespace(namespace: str) -> None:
    """The cable first: a namespace is taken apart later, by the kernel, and its link's name would stay until then."""
    link = link_name(namespace)
    lines = [f"link del {link}"] if link_exists(link) else []
    lines += [f"netns del {namespace}"] if (RUN_NETNS / namespace).exists() else []
    if lines:
        ip(lines, tolerant=True)


def _ioctl(request: int, name: str, value: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return fcntl.ioctl(control, request, struct.pack("16s24s", name.encode(), value))


def set_link(name: str, *, up: bool) -> bool:
    """Switch a link on or off without a fork (0.2 ms measured); False when there is no such link."""
    try:
        flags = struct.unpack_from("H", _ioctl(_SIOCGIFFLAGS, name, b""), 16)[0]
        wanted = flags | _IFF_UP if up else flags & ~_IFF_UP
        _ioctl(_SIOCSIFFLAGS, name, struct.pack("H", wanted))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return False
        raise
    return True


def unplug(bridge: str, link: str) -> bool:
    """Switch a server's cable off and take it out of the bridge, so that switching it on again is not enough.

    False when there is no such cable.
    """
    if not set_link(link, up=False):
        return False
    with contextlib.suppress(OSError):  # not in the bridge, or no bridge: as wanted
        _ioctl(_SIOCBRDELIF, bridge, struct.pack("i", socket.if_nametoindex(link)))
    return True


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own that has entered the namespace; the thread ends with it.

    setns moves only the calling thread, and a pool's thread would stay there for its next task. A process started by
    `work` is born inside: no helper program, no second exec. Raises what `work` raises, OSError when there is no way in.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            entrance = os.open(RUN_NETNS / namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(entrance, _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), namespace)
            finally:
                os.close(entrance)
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001 - carried over to the caller, whatever it is
            result.set_exception(error)

    thread = threading.Thread(target=run, name=f"inside {namespace}", daemon=True)
    thread.start()
    thread.join()
    return result.result()


def announce(namespace: str, addresses: Iterable[str]) -> None:
    """Tell everybody on the bridge that these addresses live here now (gratuitous ARP, RFC 5227 section 3).

    Linux takes a gratuitous ARP for an entry it has even inside its lock time, so peers reach the new place with their
    next packet, where otherwise they would talk to the old one until their entry is found stale (up to 30 s).
    """

    def send() -> socket.socket:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # 0: it receives nothing, so bind does not wait
        raw.bind((INSIDE_LINK, 0))
        mac: bytes = raw.getsockname()[4]
        for address in addresses:
            packed = socket.inet_aton(address)
            for operation in (1, 2):  # request and reply: some stacks heed only one of them
                head = struct.pack("!6s6sHHHBBH", b"\xff" * 6, mac, _ETH_P_ARP, 1, 0x0800, 6, 4, operation)
                with contextlib.suppress(OSError):  # the link is off: nobody to tell
                    raw.send(head + mac + packed + b"\xff" * 6 + packed)
        return raw

    used = inside(namespace, send)
    # Closing waits for an RCU grace period (10-20 ms measured) after everything is done: nobody needs to wait for that.
    threading.Thread(target=used.close, daemon=True).start()
