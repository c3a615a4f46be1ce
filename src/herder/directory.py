"""The data directory of one controller: where its things lie, whether it can be used, and who holds it.

Beside the rooms, because the CLI makes it and finds the socket in it, and whoever serves binds that socket.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from herder.model.errors import Conflict, Environment, InvalidInput, NewerData, TimedOut

DATA_FORMAT = 1
"""Number in `VERSION`. It goes up when an older herder could no longer read what a newer one wrote."""

LEAST_FREE_MB = 200
"""A PostgreSQL with nothing in it is 40 MB and its WAL 80 MB; below this the first service already fails half-way."""

SOCKET_PATH_MAX = 100
"""Bytes. The kernel allows 107 for a unix socket's path; a deep directory is reached through /proc/self/fd instead."""

_OURS_BEFORE_FIRST_START = frozenset({"herder.toml", "herder.lock", "herder.log", "run", "lost+found"})


@dataclass(frozen=True, slots=True)
class Directory:
    """Names of what lies in a data directory."""

    path: Path

    @property
    def socket(self) -> Path:
        return self.path / "run" / "herder.sock"

    @property
    def lock(self) -> Path:
        return self.path / "herder.lock"

    @property
    def log(self) -> Path:
        return self.path / "herder.log"

    @property
    def version(self) -> Path:
        return self.path / "VERSION"

    def prepare(self, engine_user: str) -> None:
        """Make it where it is missing and check that it can be used. Raises Environment, InvalidInput, NewerData."""
        self._make()
        self._check_format()
        if os.geteuid() == 0:
            self._check_way_for(engine_user)
        free_mb = shutil.disk_usage(self.path).free >> 20
        if free_mb < LEAST_FREE_MB:
            raise Environment(
                f"only {free_mb} MB are free at {self.path}; herder needs {LEAST_FREE_MB} MB to start",
                "free some space, or choose another directory with --dir (HERDER_DIR)",
            )
        if not self.version.exists():
            self.version.write_text(f"{DATA_FORMAT}\n", encoding="ascii")

    def _make(self) -> None:
        # Engines of an unprivileged user pass through root's directory, so others may traverse but not list it.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True)
                self.path.chmod(mode)
            (self.path / "run").mkdir(exist_ok=True)
            (self.path / "run").chmod(0o700)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except (FileExistsError, NotADirectoryError):
            raise InvalidInput(f"{self.path} is not a directory", "choose another with --dir (HERDER_DIR)") from None
        except OSError as error:
            raise Environment(
                f"cannot write to {self.path}: {error.strerror}",
                "make it writable, or choose another with --dir (HERDER_DIR)",
            ) from None

    def _check_format(self) -> None:
        if not self.version.exists():
            strangers = sorted(
                entry.name for entry in self.path.iterdir() if entry.name not in _OURS_BEFORE_FIRST_START
            )
            if strangers:
                raise InvalidInput(
                    f"{self.path} holds other things than herder's data ({', '.join(strangers[:3])})",
                    "choose an empty or a new directory with --dir (HERDER_DIR)",
                )
            return
        text = self.version.read_text(encoding="utf-8", errors="replace").strip()
        if not text.isdigit():
            raise InvalidInput(f"{self.version} says {text[:20]!r}, not a number", "was the directory damaged?")
        if int(text) > DATA_FORMAT:
            raise NewerData(
                f"{self.path} was written by a newer herder (data format {text}, this one knows {DATA_FORMAT})",
                "upgrade herder, or choose another directory with --dir (HERDER_DIR)",
            )

    def _check_way_for(self, engine_user: str) -> None:
        try:
            user = pwd.getpwnam(engine_user)
        except KeyError:
            raise Environment(
                f"there is no user '{engine_user}' for engines to run as", "set engine_user (HERDER_ENGINE_USER)"
            ) from None
        real = self.path.resolve()
        for step in (*reversed(real.parents), real):
            if user.pw_uid and not _may_pass(step.stat(), user):
                raise Environment(
                    f"engines run as '{engine_user}', who cannot pass through {step}",
                    f"choose another directory, like --dir /var/lib/herder, or: chmod o+x {step}",
                )

    def controller(self) -> int | None:
        """The pid of the controller that holds this directory; None when there is none, 0 when it has not said yet."""
        try:
            handle = os.open(self.lock, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError:
            raise Environment(
                f"{self.path} belongs to another user", "run this as the user who ran `herder up`, or give --dir"
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(handle, 32).decode("ascii", "replace").strip()
            return int(text) if text.isdigit() else 0
        finally:
            os.close(handle)
        return None

    @contextlib.contextmanager
    def held(self, wait_s: float = 0.0) -> Iterator[None]:
        """Hold the directory; the lock goes with the process, however it ends. Raises Conflict, or TimedOut after waiting.

        The pid stands in the locked file itself: a pid file of its own could name a process that is somebody else's by now.
        """
        handle = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._lock(handle, wait_s)
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode("ascii"))
            yield
        finally:
            os.close(handle)

    def _lock(self, handle: int, wait_s: float) -> None:
        give_up = time.monotonic() + max(wait_s, 0.1)  # somebody who only looks holds it for a moment
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < give_up:
                    time.sleep(0.02)
                    continue
                pid = os.read(handle, 32).decode("ascii", "replace").strip()
                if wait_s:
                    raise TimedOut(
                        f"the controller (pid {pid}) still holds {self.path} after {wait_s:g} s",
                        f"look at {self.log}; `kill -9 {pid}` loses nothing: `herder up` resumes",
                    ) from None
                raise Conflict(
                    f"a controller (pid {pid}) already runs in {self.path}",
                    "talk to it with the same --dir, stop it with `herder down`, or give this one another --dir",
                ) from None
            else:
                return


def _may_pass(seen: os.stat_result, user: pwd.struct_passwd) -> bool:
    bit = stat.S_IXUSR if seen.st_uid == user.pw_uid else stat.S_IXGRP if seen.st_gid == user.pw_gid else stat.S_IXOTH
    return bool(seen.st_mode & bit)


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """A name for a unix socket that fits the kernel's limit, valid inside the `with`: bind or connect there."""
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
