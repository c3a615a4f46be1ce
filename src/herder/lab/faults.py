"""Break things from outside, the way the world does: processes, cables, disks. For tests, the demo and the bench.

Servers and members are the dicts of `herder servers --json` and `show --json`. Every function is synchronous and quick,
does not go through herder, and returns the monotonic time (seconds) at which the fault was in effect, so that what
follows can be measured from there. NotPossible says what this machine lacks; nothing is ever pretended.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from herder.model.errors import Environment
from herder.providers import cgroups, netns, procs

Server = Mapping[str, Any]
"""id, address, namespace ('' without), agent_pid; `directory` where it is given."""

_GIVE_UP_S = 5.0
_FILLER = ".filler-of-a-full-disk"
_BLOCK = bytes(1 << 16)
_COMMAND_TIMEOUT_S = 10.0


class NotPossible(Environment):
    """Not to be had on this machine."""


# --- processes ----------------------------------------------------------------------------------------------------


def kill_process(pid: int) -> float:
    """SIGKILL one process and nothing else; effective when it is gone (a zombie is)."""
    if pid <= 1:
        raise NotPossible(f"{pid} is no process to kill", "is the member running? see `herder show --json`")
    began = procs.start_ticks(pid)
    if began is None:
        raise NotPossible(f"process {pid} does not run")
    os.kill(pid, signal.SIGKILL)
    give_up = time.monotonic() + _GIVE_UP_S
    while procs.is_running(pid, began):
        if time.monotonic() > give_up:
            raise NotPossible(f"process {pid} does not end: {procs.describe(pid)}")
        time.sleep(0.0002)
    return time.monotonic()


def kill_engine(pid: int) -> float:
    """Kill -9 the postmaster or valkey-server only: a busy backend may go on acknowledging for seconds."""
    return kill_process(pid)


def kill_host(server: Server) -> float:
    """Every process of the server ends at once, the agent too. The kernel stays: it closes connections, refuses new ones."""
    return _kill_all(server, _finder(server))


def power_cut(server: Server) -> float:
    """As `kill_host`, but not a packet tells of it: the cable goes first. A boot by the provider plugs it in again.

    The honest case for detection: a peer that waits for a refusal waits in vain. Needs namespaces.
    """
    find = _finder(server)
    silence(server)
    return _kill_all(server, find)


def freeze(server: Server) -> float:
    """SIGSTOP everything, also what was forked meanwhile: a paused virtual machine. Its kernel still answers SYNs."""
    return _until_all(_finder(server), signal.SIGSTOP, procs.is_stopped)


def thaw(server: Server) -> float:
    """Let it run again, unaware of the time it lost."""
    return _until_all(_finder(server), signal.SIGCONT, lambda pid: not procs.is_stopped(pid))


def processes(server: Server) -> list[int]:
    """Every process of the server as of now."""
    return _finder(server)()


def _kill_all(server: Server, find: procs.Finder) -> float:
    try:
        procs.kill_until_gone(find, _GIVE_UP_S, _group(server))
    except procs.StillThere as left:
        raise NotPossible(f"{server.get('id')} does not end: {left}") from left
    return time.monotonic()


def _group(server: Server) -> Path | None:
    """The server's cgroup, where its provider made one."""
    namespace = _namespace(server)
    if namespace:
        _, tag, name = namespace.split("-", 2)
    else:
        home = _directory(server)
        tag, name = netns.tag_of(home.parent.parent), home.name
    return cgroups.existing(tag, name)


def _until_all(find: procs.Finder, number: signal.Signals, reached: Callable[[int], bool]) -> float:
    """Signal until two looks in a row find all processes as wanted: a fork between two looks shows in the second."""
    give_up = time.monotonic() + _GIVE_UP_S
    calm = 0
    while calm < 2:
        rest = [pid for pid in find() if not reached(pid) and procs.start_ticks(pid) is not None]
        calm = 0 if rest else calm + 1
        for pid in rest:
            procs.send(pid, number)
        if time.monotonic() > give_up:
            raise NotPossible(f"{number.name} does not reach: {', '.join(map(procs.describe, rest))}")
        if rest:
            time.sleep(0.0005)
    return time.monotonic()


def _finder(server: Server) -> procs.Finder:
    namespace = _namespace(server)
    if namespace:
        inode = netns.inode_of(namespace)
        if inode is None:
            raise NotPossible(f"there is no namespace {namespace}", "see `ip netns`")
        return partial(procs.in_namespaces, frozenset({inode}))
    directory = _directory(server)
    agent = int(server.get("agent_pid") or 0)
    began = procs.start_ticks(agent)

    def find(among: Iterable[int] | None = None) -> list[int]:
        alone = [agent] if began is not None and procs.is_running(agent, began) else []
        return list({*alone, *procs.working_under(directory, among)})

    return find


def _directory(server: Server) -> Path:
    """The server's directory: told, or the agent's working directory, where its provider started it."""
    if server.get("directory"):
        return Path(str(server["directory"]))
    try:
        where = Path(os.readlink(f"/proc/{int(server['agent_pid'])}/cwd"))
    except (KeyError, OSError, TypeError):
        raise NotPossible(f"the directory of {server.get('id')} is not known", "give it as `directory`") from None
    if where.parent.name != "servers":  # never sweep somebody's home directory because a pid was wrong
        raise NotPossible(f"{where} is not a server's directory", "give it as `directory`")
    return where


# --- cables -------------------------------------------------------------------------------------------------------


def silence(server: Server) -> float:
    """Pull the cable: nothing gets in or out, everything inside goes on."""
    return _switch(server, up=False)


def unsilence(server: Server) -> float:
    """Plug the cable in again (a fence took it out of the bridge besides: that stays so)."""
    return _switch(server, up=True)


def drop_one_way(server: Server, peer: str, *, outgoing: bool) -> float:
    """Drop what the server sends to the address `peer` (outgoing) or what it should get from it; the rest passes.

    ARP passes too, so both sides still believe in each other. Faults of one server add up until `heal`.
    """
    chain, match = ("from_server", "ip daddr") if outgoing else ("to_server", "ip saddr")
    return _nft(server, [f"add rule {_table(server)} {chain} {match} {_address(peer)} drop"])


def lose(server: Server, percent: int) -> float:
    """Lose that share of the packets in each direction (tc netem is not in every kernel; nftables' numgen is)."""
    if not 0 < percent <= 100:
        raise NotPossible(f"{percent} % of packets cannot be lost", "give 1 to 100")
    rule = "drop" if percent == 100 else f"numgen random mod 100 < {percent} drop"
    return _nft(server, [f"add rule {_table(server)} {chain} {rule}" for chain in ("from_server", "to_server")])


def heal(server: Server) -> float:
    """End `drop_one_way` and `lose` for this server; it also removes what nftables keeps of them, so always call it."""
    table = _table(server)
    return _run_nft([f"add table {table}", f"delete table {table}"])


def _namespace(server: Server) -> str:
    return str(server.get("namespace") or "")


def _address(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", text):
        raise NotPossible(f"'{text}' is not an IPv4 address")
    return text


def _link(server: Server) -> str:
    namespace = _namespace(server)
    if not namespace:
        raise NotPossible("servers share the host's network here", "run herder as root, so that each has a namespace")
    link = netns.link_name(namespace)
    if not netns.link_exists(link):
        raise NotPossible(f"{server.get('id')} has no cable {link}", "see `ip link`")
    return link


def _switch(server: Server, *, up: bool) -> float:
    netns.set_link(_link(server), up=up)
    return time.monotonic()


def _table(server: Server) -> str:
    namespace = _namespace(server)
    if not namespace:
        raise NotPossible("servers share the host's network here", "run herder as root, so that each has a namespace")
    return f"netdev faults_{netns.link_name(namespace).replace('-', '_')}"


def _nft(server: Server, rules: list[str]) -> float:
    """Rules on the host's end of the cable: inside, a dropped send would fail in the sender's face instead of vanish."""
    table, link = _table(server), _link(server)
    hooks = (("from_server", "ingress"), ("to_server", "egress"))
    chains = [
        f'add chain {table} {chain} {{ type filter hook {hook} device "{link}" priority 0; policy accept; }}'
        for chain, hook in hooks
    ]
    return _run_nft([f"add table {table}", *chains, *rules])


def _run_nft(lines: list[str]) -> float:
    if shutil.which("nft") is None:
        raise NotPossible("there is no `nft` program", "install nftables")
    _run(["nft", "-f", "-"], "\n".join([*lines, ""]))
    return time.monotonic()


def _run(command: list[str], text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False)
    if done.returncode:
        raise NotPossible(f"{command[0]}: {done.stderr.strip() or f'exit {done.returncode}'}")


def sweep(directory: Path) -> None:
    """What faults of the herder in that directory left in the kernel: rules of its servers' cables, small disks.

    For whoever ends a herder whose faults were not undone. Names carry the directory's tag: nothing else is touched.
    """
    if os.geteuid() != 0:
        return
    top = f"{os.path.realpath(directory)}/"
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    for point in sorted((point for point in mounted if point.startswith(top)), reverse=True):
        remove_small_disk(Path(point))
    if shutil.which("nft") is not None:
        told = subprocess.run(
            ["nft", "list", "tables", "netdev"], capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False
        )
        mine = f"table netdev faults_v{netns.tag_of(directory)}_"
        tables = [line.strip() for line in told.stdout.splitlines() if line.strip().startswith(mine)]
        if tables:
            _run_nft([f"delete {table}" for table in tables])


# --- disks --------------------------------------------------------------------------------------------------------


def small_disk(directory: Path, size_mb: int) -> float:
    """Put a tmpfs of that size on a directory, with what lies there copied into it. Root only.

    Do it before anything there is open: a process that has files open stays on the old disk.
    """
    if os.geteuid() != 0:
        raise NotPossible("mounting needs root")
    if os.path.ismount(directory):
        raise NotPossible(f"{directory} is a mount already")
    seen = directory.stat()
    options = f"size={size_mb}m,mode={seen.st_mode & 0o7777:o},uid={seen.st_uid},gid={seen.st_gid}"
    # Filled beside, then moved over it: nobody ever sees the directory empty.
    beside = directory.with_name(directory.name + ".small")
    beside.mkdir(mode=0o700)
    try:
        _run(["mount", "-t", "tmpfs", "-o", options, "herder-small-disk", str(beside)])
        try:
            _run(["cp", "-a", f"{directory}/.", str(beside)])
            _run(["mount", "--bind", str(beside), str(directory)])
        finally:
            _run(["umount", str(beside)])
    finally:
        beside.rmdir()
    return time.monotonic()


def full_disk(directory: Path) -> float:
    """Fill the small disk to its last byte. Refuses any other disk: that one is the host's."""
    if not os.path.ismount(directory):
        raise NotPossible(f"{directory} is on the host's own disk", "put a `small_disk` on it first")
    handle = os.open(directory / _FILLER, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        seen = os.statvfs(directory)
        with suppress(OSError):  # quick, for nearly all of it; somebody may have been quicker with the rest
            os.posix_fallocate(handle, 0, os.fstat(handle).st_size + seen.f_bavail * seen.f_frsize)
        size = len(_BLOCK)
        while size:
            try:
                os.write(handle, _BLOCK[:size])
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2
    finally:
        os.close(handle)
    return time.monotonic()


def free_bytes(directory: Path) -> int:
    """What is free there for whoever is not root."""
    seen = os.statvfs(directory)
    return seen.f_bavail * seen.f_frsize


def free_disk(directory: Path) -> float:
    """Somebody cleaned up: the disk has room again."""
    (directory / _FILLER).unlink(missing_ok=True)
    return time.monotonic()


def remove_small_disk(directory: Path) -> float:
    """Take the tmpfs away, and what was written to it with it; lazily, so that open files do not keep it mounted."""
    if os.path.ismount(directory):
        _run(["umount", "--lazy", str(directory)])
    return time.monotonic()
