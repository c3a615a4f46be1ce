"""What the local provider must remember over a crash or a reboot: small files, each replaced in one step and synced.

- servers/ground.json: which /24, with or without namespaces
- servers/addresses.json: which server has which slot address: one table, so an address cannot be in two places
- servers/.locks/: one lock file a server: controllers of the same directory exclude each other by flock
- servers/SERVER/server.json: its incarnation, what was fenced, its agent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from herder.model.errors import UNREADABLE, Environment, InvalidInput, TimedOut

_SERVER = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_LOCK_POLL_S = 0.001
LOCK_TIMEOUT_S = 10.0
"""Longer than any call takes but one that cannot confirm; a controller frozen with the lock in hand costs this much."""

T = TypeVar("T")


class GroundFile(msgspec.Struct, frozen=True, kw_only=True):
    """Chosen once, kept while there are servers: their addresses are in clients' URLs."""

    subnet: str
    namespaces: bool


class ServerFile(msgspec.Struct, frozen=True, kw_only=True):
    """One server. fenced: the highest incarnation that was ever fenced; it and those below never rejoin.

    pid, ticks: the agent's first process and its start time. netns: the namespace's inode, in case its name is
    removed under its processes. Both hold for `boot` only.
    """

    server: str
    incarnation: int
    address: str
    fenced: int = 0
    boot: str = ""
    pid: int = 0
    ticks: int = 0
    netns: int = 0


def check_name(server: str) -> str:
    """It becomes a path and the name of a namespace. Raises InvalidInput."""
    if not _SERVER.fullmatch(server):
        raise InvalidInput(f"'{server}' is not a usable server id", "use lower-case letters, digits, '-' and '_'")
    return server


def write_synced(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file so that after a power cut there is the old one or the new one. Raises Environment."""
    new = path.with_name(path.name + ".new")
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            os.fchmod(handle, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        new.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise Environment(f"cannot write {path}: {error.strerror}", "free some space, or mend the disk") from error


def sync_directory(path: Path) -> None:
    """Make a rename or a new name durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path, kind: type[T]) -> T | None:
    """Decode a JSON file; None when there is none. Raises Environment when it is not what it should be."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UNREADABLE as error:
        raise Environment(
            f"{path} cannot be read: {error}", "restore it, or move the server's directory away"
        ) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock that dies with the process. Works between threads too: each opens the file anew.

    Polls, because a blocking flock cannot be given up. Raises TimedOut after LOCK_TIMEOUT_S.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        give_up = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise TimedOut(f"another herder works on {path.name}", "it may be frozen: see `lslocks`") from None
                time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(handle)


class Shelf:
    """The files of one data directory."""

    def __init__(self, directory: Path) -> None:
        self.servers = directory / "servers"
        self.trash = directory / "trash" / "servers"

    def prepare(self) -> None:
        """Make the directories. Others may pass through `servers` (engines do not run as root) but not look around."""
        (self.servers / ".locks").mkdir(parents=True, exist_ok=True)
        self.servers.chmod(0o711)
        (self.servers / ".locks").chmod(0o700)

    def home(self, server: str) -> Path:
        """The server's directory: its disk."""
        return self.servers / check_name(server)

    def lock(self, server: str) -> contextlib.AbstractContextManager[None]:
        """Exclude everybody else from this server."""
        return locked(self.servers / ".locks" / check_name(server))

    def address_lock(self) -> contextlib.AbstractContextManager[None]:
        """Exclude everybody else from the address table; may be taken with a server's lock held, never before it."""
        return locked(self.servers / ".locks" / ".addresses")

    def ground_lock(self) -> contextlib.AbstractContextManager[None]:
        """Exclude everybody else from deciding about the ground."""
        return locked(self.servers / ".locks" / ".ground")

    def load(self, server: str) -> ServerFile | None:
        """None: no such server."""
        return read(self.home(server) / "server.json", ServerFile)

    def save(self, state: ServerFile) -> None:
        """Durable when it returns."""
        write_synced(self.home(state.server) / "server.json", msgspec.json.encode(state))

    def known(self) -> list[str]:
        """Every server with a file, in order."""
        return sorted(path.parent.name for path in self.servers.glob("*/server.json"))

    def addresses(self) -> dict[str, str]:
        """Slot address -> server."""
        return read(self.servers / "addresses.json", dict[str, str]) or {}

    def save_addresses(self, table: dict[str, str]) -> None:
        """Durable when it returns."""
        write_synced(self.servers / "addresses.json", msgspec.json.encode(table))

    def ground(self) -> GroundFile | None:
        """None before the first start."""
        return read(self.servers / "ground.json", GroundFile)

    def save_ground(self, ground: GroundFile) -> None:
        """Durable when it returns."""
        write_synced(self.servers / "ground.json", msgspec.json.encode(ground))

    def grave(self, server: str) -> ServerFile | None:
        """The last life of a destroyed server while its directory is in the trash."""
        lives = (read(path / "server.json", ServerFile) for path in self.trash.glob(f"{check_name(server)}-*"))
        mine = [life for life in lives if life is not None and life.server == server]
        return max(mine, key=lambda life: life.incarnation, default=None)

    def bury(self, server: str) -> Path | None:
        """Move the server's directory to the trash, where a mistake can be undone; None when there is none."""
        home = self.home(server)
        if not home.exists():
            return None
        self.trash.mkdir(parents=True, exist_ok=True)
        self.trash.chmod(0o700)
        number = 1
        while (target := self.trash / f"{server}-{number}").exists():
            number += 1
        home.rename(target)
        sync_directory(self.servers)
        sync_directory(self.trash)
        return target
