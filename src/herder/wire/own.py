"""herder's own nats-server for one machine: from the wheel, outliving the controller, found again by every next one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import signal
import socket
import subprocess
from pathlib import Path

from herder.model.errors import Environment
from herder.wire.credentials import Authority
from herder.wire.frame import FRAME_MAX

log = logging.getLogger(__name__)

START_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 5.0
RESTART_PAUSE_S = 0.2

_CONFIG = """\
# Written by herder; changes are overwritten. No secret stands here: JWTs are public statements.
server_name: "herder"
listen: "{host}:{port}"
pid_file: "{directory}/nats.pid"
log_file: "{directory}/nats.log"
logfile_size_limit: 4MB
logfile_max_num: 3
max_payload: {max_payload}
max_connections: 65536
# A dead agent is told (DISCONNECT) within 6 s; its pulse is missed earlier.
ping_interval: "2s"
ping_max: 2
write_deadline: "2s"
"""

_TRUST = """\
operator: "{operator}"
system_account: "{system}"
resolver: MEMORY
resolver_preload: {{
  {account}: "{account_jwt}"
  {system}: "{system_jwt}"
}}
"""


def trust(authority: Authority) -> str:
    """The part of a nats-server's configuration that makes it trust this herder; public statements, no secret."""
    return _TRUST.format(
        operator=authority.operator_jwt(),
        account=authority.account,
        account_jwt=authority.account_jwt(),
        system=authority.system,
        system_jwt=authority.system_jwt(),
    )


class OwnNats:
    """A nats-server in `<directory>/nats/`. keys: the secret of `credentials.new_keys`. user: who it runs as when root.

    The port is chosen once and remembered, so that agents find the server again after any restart.
    """

    def __init__(
        self, binary: str, directory: Path, keys: str, *, host: str = "127.0.0.1", user: str = "nobody"
    ) -> None:
        self._binary = binary
        self._directory = directory.absolute() / "nats"
        self._authority = Authority(keys)
        self._host = host
        self._user = user
        self._config = self._directory / "nats.conf"
        self._child = 0  # to be reaped when it ends while we live
        self._turn = asyncio.Lock()
        self.pid = 0

    @property
    def url(self) -> str:
        """Where agents and controllers reach it. Raises Environment before the first `ensure`."""
        return f"nats://{self._host}:{self._remembered_port()}"

    async def ensure(self) -> str:
        """Make it run: adopt the one that runs, else start one. Returns its url. Raises Environment."""
        async with self._turn:
            self._reap()
            self._prepare()
            changed = self._write_config()
            running = self._find()
            if running and changed:
                log.info("nats-server %d runs with an older configuration: starting it again", running)
                await _end(running)
                running = 0
            if not running:
                running = await self._start()
            self.pid = running
            return self.url

    async def keep(self) -> None:
        """For ever: start it again whenever it ends. Run as a task beside the control plane."""
        while True:
            try:
                await self.ensure()
                await _until_gone(self.pid)
                log.warning("nats-server %d is gone: starting it again", self.pid)
            except Environment as error:
                log.warning("nats-server: %s", error)
            await asyncio.sleep(RESTART_PAUSE_S)  # bounds the pace when it dies at every start

    async def stop(self) -> None:
        """End it (only for good: agents and controllers are cut off). Idempotent."""
        async with self._turn:
            running = self._find()
            if running:
                await _end(running)
            self._reap()
            self.pid = 0

    def _prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            account = self._account()
            os.chown(self._directory, account.pw_uid, account.pw_gid)
        port = self._directory / "port"
        if not port.exists():
            _write(port, str(_free_port(self._host)))

    def _write_config(self) -> bool:
        text = trust(self._authority) + _CONFIG.format(
            host=self._host, port=self._remembered_port(), directory=self._directory, max_payload=FRAME_MAX
        )
        with contextlib.suppress(FileNotFoundError):
            if self._config.read_text() == text:
                return False
        _write(self._config, text)
        return True

    def _remembered_port(self) -> int:
        try:
            return int((self._directory / "port").read_text())
        except (FileNotFoundError, ValueError):
            raise Environment("herder's nats-server has no port yet", "start the control plane first") from None

    def _find(self) -> int:
        """The pid of the nats-server that runs with our config, 0 when none.

        The config's absolute path in the command line is the proof: a recycled pid cannot carry it, so no start time
        needs to be kept beside the pid file.
        """
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int((self._directory / "nats.pid").read_text())
            if self._is_ours(pid):
                return pid
        # The controller may have died before the server wrote its pid.
        return next((pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_ours(pid)), 0)

    def _is_ours(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return words[1:3] == [b"-c", str(self._config).encode()]

    async def _start(self) -> int:
        host, port = self._host, self._remembered_port()
        identity: dict[str, object] = {}
        if os.geteuid() == 0:
            account = self._account()
            identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self._readable_by_server()
        command = [self._binary, "-c", str(self._config)]
        try:
            with (self._directory / "nats.out").open("wb") as out:
                child = subprocess.Popen(  # type: ignore[call-overload]  # noqa: ASYNC220  must outlive the loop
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,  # the control plane's end or a Ctrl-C must not take it along
                    cwd=self._directory,
                    **identity,
                )
        except OSError as error:
            raise Environment(f"nats-server does not start: {error}", f"is {self._binary} a nats-server?") from None
        self._child = child.pid
        child.returncode = 0  # tells Popen that nobody waits for it; otherwise its outliving us is reported
        until = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while asyncio.get_running_loop().time() < until:
            if self._reap():
                raise Environment(f"nats-server ended at once: {self._last_words()}", f"port {port} may be taken")
            if await _greets(host, port):
                return self._child
            await asyncio.sleep(0.01)
        await _end(self._child)
        raise Environment(f"nats-server did not listen on {host}:{port} in {START_TIMEOUT_S:g} s", self._last_words())

    def _readable_by_server(self) -> None:
        """The config was written by root; the server's user reads it and writes its log and pid beside it."""
        if os.geteuid() != 0:
            return
        account = self._account()
        for path in self._directory.iterdir():
            os.chown(path, account.pw_uid, account.pw_gid)

    def _account(self) -> pwd.struct_passwd:
        try:
            return pwd.getpwnam(self._user)
        except KeyError:
            raise Environment(f"there is no user '{self._user}' to run nats-server as", "set engine_user") from None

    def _last_words(self) -> str:
        for name in ("nats.out", "nats.log"):
            with contextlib.suppress(OSError):
                lines = (self._directory / name).read_text(errors="replace").strip().splitlines()
                if lines:
                    return lines[-1]
        return "it said nothing"

    def _reap(self) -> bool:
        """Collect our child when it has ended; has it?"""
        if not self._child:
            return False
        try:
            pid, _ = os.waitpid(self._child, os.WNOHANG)
        except ChildProcessError:
            pid = self._child
        if pid:
            self._child = 0
        return pid != 0


async def _greets(host: str, port: int) -> bool:
    """Does a NATS server answer there?"""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(0.5):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return (await reader.readline()).startswith(b"INFO ")
            finally:
                writer.close()
    return False


async def _until_gone(pid: int) -> None:
    """Wait for the process's end by pidfd, so that it need not be our child."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(handle, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


async def _end(pid: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await _until_gone(pid)
            return
    raise Environment(f"nats-server {pid} does not end", "look at what blocks it")


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _write(path: Path, text: str) -> None:
    """All or nothing, so that a controller killed here leaves the old file or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
