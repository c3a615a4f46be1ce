"""herder's own PostgreSQL for its state, where no HERDER_DATABASE_URL is given: made once, started detached, adopted.

The server is not the controller's child that dies with it: a controller that restarts finds it running. It listens on a
unix socket only, and only the user that the controller runs as may log in.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from herder.model.errors import Environment, HerderError, NewerData, TimedOut
from herder.stores.postgres import processes

log = logging.getLogger(__name__)

ROLE = "herder"
DATABASE = "postgres"
PORT = 5432
"""Only the name of the socket file: there is no TCP."""

SOCKET_PATH_MAX = 100
"""Bytes of a socket's path; Linux allows 107, and PostgreSQL adds `.lock` to it."""

INITDB_S = 120.0
START_S = 120.0
"""Seconds; recovery after a crash reads at most max_wal_size again."""

STOP_S = 20.0
"""Seconds of a fast stop, which ends with a checkpoint; after that it is an immediate one."""

POLL_S = 0.01
"""Seconds between looks at postmaster.pid while the server starts (0.1 s in all, mostly)."""

LOOK_S = 0.25
"""Seconds between looks whether it still runs: the controller's hold on its shards outlasts 12 s without a store."""

RESTART_PAUSE_S = 1.0
"""Seconds between two starts: it bounds the pace when it ends at every start."""

_READY = "ready"

_CONF = """\
# Written by herder at every start; changes here are lost. Put your own into postgresql.conf, which herder never touches.
listen_addresses = ''
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 40
shared_buffers = 32MB
huge_pages = off
jit = off
max_parallel_workers_per_gather = 0
max_logical_replication_workers = 0
fsync = on
full_page_writes = on
synchronous_commit = on
# Enough for a base backup of herder's own state.
wal_level = replica
max_wal_senders = 3
# A record of 65,000 moves is 1.5 MB: with the default of 1 MB its writer waits for the disk in the middle of its insert
# (measured: 12 ms instead of 8.5).
wal_buffers = 16MB
# A checkpoint writes every page once more in full: with a fleet of millions every 256 MB of log would bring one.
checkpoint_timeout = 15min
min_wal_size = 64MB
max_wal_size = 1GB
# Packed columns hardly shrink, and compressing them costs the commit's CPU.
wal_compression = off
logging_collector = on
log_directory = '../log'
log_filename = 'store-%a.log'
log_truncate_on_rotation = on
log_rotation_age = 1d
log_rotation_size = 0
timezone = 'UTC'
"""

_CONF_18 = "# Three worker processes less: there is nothing to read ahead.\nio_method = sync\n"


class OwnPostgres:
    """A PostgreSQL server in `directory`/store, run by the programs in `bin_dir`.

    uid, gid: whom it runs as when this process is root (it refuses to be root); None where this process is not.
    Whoever shares that uid can read the files: give the store one that tenants' engines do not have.
    """

    def __init__(self, directory: Path, bin_dir: Path, *, uid: int | None = None, gid: int | None = None) -> None:
        self._home = directory.absolute() / "store"
        self._data = self._home / "data"
        self._log = self._home / "log"
        self._start_log = self._home / "start.log"
        self._bin = bin_dir.absolute()
        if os.geteuid() == 0 and not uid:
            raise Environment("PostgreSQL does not run as root", "set engine_user to an unprivileged user")
        self._uid = uid if os.geteuid() == 0 else None
        self._gid = gid or _group_of(uid) if os.geteuid() == 0 else None
        self._sockets = socket_directory(self._home)
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def connect_options(self) -> dict[str, Any]:
        """Keyword arguments for PostgresStore."""
        return {"host": str(self._sockets), "port": PORT, "user": ROLE, "database": DATABASE, "ssl": False}

    @property
    def data_directory(self) -> Path:
        return self._data

    def pid(self) -> int | None:
        """The running postmaster, whoever started it."""
        if self._server is not None and self._server.poll() is not None:
            self._server = None
        return processes.postmaster(self._data)

    async def start(self) -> dict[str, Any]:
        """Make it when there is none, adopt it when it runs, start it when not; returns connect_options once it answers.

        Raises Environment (with what to do), NewerData, TimedOut.
        """
        await asyncio.to_thread(self._start)
        return self.connect_options

    async def keep(self) -> None:
        """For ever: start it again whenever it has ended. Run as a task beside the control plane, which can do nothing
        without it.
        """
        while True:
            await asyncio.sleep(LOOK_S)
            if self.pid() is not None:
                continue
            log.warning("the store's PostgreSQL is gone: starting it again")
            try:
                await self.start()
            except (HerderError, OSError) as error:
                log.warning("the store's PostgreSQL: %s", error)
            await asyncio.sleep(RESTART_PAUSE_S)

    async def stop(self) -> None:
        """Stop it fast: sessions end, what was committed stays. Nothing happens when it is not running."""
        await asyncio.to_thread(self._stop)

    def _start(self) -> None:
        with self._turn():
            self._make_directories()
            pid = self.pid()
            if pid is None:
                processes.end_leftovers(self._home)
                if not self._data.exists():
                    self._initialise()
                self._check_version()
                # Both name a number that may be another process's by now: PostgreSQL would take it for a living server.
                (self._data / "postmaster.pid").unlink(missing_ok=True)
                (self._sockets / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
                self._write_configuration()
                pid = self._launch()
            self._wait_ready(pid)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One starter at a time: the second one adopts what the first one started."""
        self._home.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._home.parent / "store.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _make_directories(self) -> None:
        """`store` stays root's where we are root: what stands in it cannot be swapped for a link by its user."""
        self._own_directory(self._home, None)
        if self._uid is not None:
            self._home.chmod(0o711)
        for path in (self._log, self._sockets):
            self._own_directory(path, self._uid)
        for path in (self._home, self._bin):
            self._check_path(path)

    def _own_directory(self, path: Path, uid: int | None) -> None:
        """Make it, owned by `uid` or by us; in /tmp anybody could have made it before, to hear what the store is told."""
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            if uid is not None and self._gid is not None and path.lstat().st_uid == os.geteuid():
                os.chown(path, uid, self._gid, follow_symlinks=False)
            owner = path.lstat().st_uid
        except OSError as error:
            raise _environment(f"{path} cannot be made: {error.strerror}", str(error), path.parent) from error
        if path.is_symlink() or owner != (os.geteuid() if uid is None else uid):
            raise Environment(f"{path} belongs to somebody else", "remove it, or choose another data directory")

    def _check_path(self, path: Path) -> None:
        """Raise Environment naming the first directory that the server's user may not enter (asked of the kernel, which
        knows about access lists and mounts).
        """
        steps = [str(step) for step in (*reversed(path.parents), path)]
        script = 'for step; do test -x "$step" || { echo "$step"; exit 1; }; done'
        done = self._run(["/bin/sh", "-c", script, "sh", *steps], cwd="/", timeout_s=INITDB_S)
        if done.returncode != 0:
            blocking = done.stdout.strip()
            if not Path(blocking).exists():
                raise Environment(f"there is no {blocking}", "PostgreSQL's programs are expected there")
            raise Environment(
                f"user {self._uid} may not enter {blocking}, which is on the way to {path}",
                f"chmod o+x {blocking}, or choose a data directory elsewhere (HERDER_DIR)",
            )

    def _initialise(self) -> None:
        """Run initdb into data.new, then rename: a data directory that exists is whole."""
        new = self._home / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        self._own_directory(new, self._uid)
        arguments = ["--username", ROLE, "--auth-local=peer", "--auth-host=reject", "--encoding=UTF8", "--locale=C"]
        command = [str(self._bin / "initdb"), "-D", str(new), *arguments, "--data-checksums"]
        done = self._run(command, cwd=str(self._home), timeout_s=INITDB_S)
        if done.returncode != 0:
            raise _environment("initdb could not make the store", done.stdout + done.stderr, self._home)
        conf = new / "postgresql.conf"
        self._write(conf, conf.read_text() + "\ninclude 'herder.conf'\n")
        new.rename(self._data)
        _sync(self._home)

    def _check_version(self) -> None:
        try:
            data = int((self._data / "PG_VERSION").read_text())
        except (OSError, ValueError) as error:
            raise _environment(f"{self._data} is not a PostgreSQL data directory", str(error), self._data) from error
        programs = self._major()
        if data > programs:
            raise NewerData(
                f"the store was written by PostgreSQL {data}, {self._bin} has {programs}",
                f"set postgres_bin to the programs of version {data}",
            )
        if data < programs:
            raise Environment(
                f"the store was written by PostgreSQL {data}, {self._bin} has {programs}",
                f"set postgres_bin to version {data}, or bring {self._data} up to date with pg_upgrade",
            )

    def _major(self) -> int:
        """`postgres (PostgreSQL) 18.6` -> 18."""
        done = self._run([str(self._bin / "postgres"), "--version"], cwd="/", timeout_s=INITDB_S)
        if done.returncode != 0:
            raise Environment(f"{self._bin}/postgres does not run: {done.stderr.strip()}", "install it again")
        return int(done.stdout.split(")")[1].split(".")[0].split("beta")[0])

    def _write_configuration(self) -> None:
        """At every start: a newer herder has better numbers, and the directory may have been moved."""
        settings = _CONF.format(port=PORT, sockets=str(self._sockets).replace("'", "''"))
        if self._major() >= 18:
            settings += _CONF_18
        self._write(self._data / "herder.conf", settings)
        self._write(self._data / "pg_hba.conf", f"local all {ROLE} peer map=herder\n")
        self._write(self._data / "pg_ident.conf", f'herder "{pwd.getpwuid(os.geteuid()).pw_name}" {ROLE}\n')

    def _write(self, path: Path, text: str) -> None:
        """Whole or not at all. Written by the server's user: root must not follow a link that this user can make."""
        script = 'rm -f "$1.new" && cat > "$1.new" && mv -f "$1.new" "$1"'
        done = self._run(["/bin/sh", "-c", script, "sh", str(path)], cwd="/", timeout_s=INITDB_S, text=text)
        if done.returncode != 0:
            raise _environment(f"{path} cannot be written", done.stderr, self._home)
        _sync(path)
        _sync(path.parent)

    def _launch(self) -> int:
        """Start the postmaster in a session of its own; what it says before its own log is open goes to start.log."""
        with self._start_log.open("wb") as output:
            self._server = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self._data)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._home,
                **self._identity(),
            )
        return self._server.pid

    def _wait_ready(self, pid: int) -> None:
        """Until postmaster.pid says so, which the server writes itself once it takes connections."""
        deadline = time.monotonic() + START_S
        while processes.status(self._data) != (pid, _READY):
            if processes.has_ended(self._server, pid):
                words = self._start_log.read_text(errors="replace") + self._newest_log()
                raise _environment("the store's PostgreSQL did not start", words, self._home)
            if time.monotonic() > deadline:
                raise TimedOut(f"the store's PostgreSQL is not ready after {START_S:.0f} s", f"see {self._log}")
            time.sleep(POLL_S)

    def _newest_log(self) -> str:
        logs = sorted(self._log.glob("store-*.log"), key=lambda path: path.stat().st_mtime)
        return logs[-1].read_text(errors="replace")[-2000:] if logs else ""

    def _stop(self) -> None:
        with self._turn():
            pid = self.pid()
            if pid is not None:
                processes.stop_postmaster(pid, STOP_S)
            self.pid()  # reaps it
            processes.end_leftovers(self._home)

    def _run(
        self, command: list[str], *, cwd: str, timeout_s: float, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run as the server's user until it ends."""
        try:
            return subprocess.run(
                command,
                input=text,
                cwd=cwd,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                **self._identity(),
            )
        except subprocess.TimeoutExpired as error:
            raise TimedOut(f"{command[0]} did not end within {timeout_s:.0f} s", "is the disk stuck?") from error
        except OSError as error:
            raise _environment(f"{command[0]} does not run: {error.strerror}", str(error), self._home) from error

    def _identity(self) -> dict[str, Any]:
        """Popen's arguments: whose process, a session of its own, and an environment without our secrets."""
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
        who: dict[str, Any] = {"env": environment, "umask": 0o077, "start_new_session": True}
        if self._uid is not None:
            who |= {"user": self._uid, "group": self._gid, "extra_groups": []}
        return who


def socket_directory(home: Path) -> Path:
    """`home`/run, or a short path made of its hash where the socket's path would be too long for the kernel."""
    usual = home / "run"
    if len(os.fsencode(usual / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_MAX:
        return usual
    return Path("/tmp") / f"herder-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"  # noqa: S108  its owner is checked


def _group_of(uid: int | None) -> int | None:
    """The user's own group: never root's, which Popen would leave it with."""
    try:
        return None if uid is None else pwd.getpwuid(uid).pw_gid
    except KeyError:
        raise Environment(f"user {uid} is not in /etc/passwd", "set engine_user to a user that exists") from None


def _sync(path: Path) -> None:
    """Make a file, or the renames in a directory, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _environment(message: str, words: str, path: Path) -> Environment:
    """The error with what to do about the usual causes, found in what the program or the kernel said."""
    if "No space left on device" in words:
        free_mb = shutil.disk_usage(path).free // 1024**2
        if "shared memory" in words:
            return Environment(f"{message}: /dev/shm is full", "make room there (PostgreSQL keeps shared memory in it)")
        return Environment(f"{message}: the disk is full", f"{path} has {free_mb} MB free; it needs 200")
    if "Permission denied" in words or "Operation not permitted" in words:
        return Environment(f"{message}: {_last_line(words)}", f"check who owns {path} and its parents")
    return Environment(f"{message}: {_last_line(words)}", f"see the log in {path}")


def _last_line(words: str) -> str:
    """The last line that names a cause."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    causes = [line for line in lines if "FATAL" in line or "error:" in line or "PANIC" in line]
    return (causes or lines or ["it said nothing"])[-1]
