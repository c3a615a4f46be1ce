"""A whole herder in a throw-away directory, for the demo, the benchmarks and the acceptance tests.

However its owner ends (an exception, Ctrl-C, SIGTERM, even kill -9), nothing of it stays: a watchdog process holds one
end of a pipe, sees its owner's end close, tears everything down and removes the directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import httpx

from herder.directory import Directory, socket_address
from herder.lab import faults
from herder.model.errors import BY_CODE, Environment, HerderError, InvalidInput, NotFound, TimedOut, Unreachable
from herder.providers import procs
from herder.settings import Resolved, resolve

Facts = dict[str, Any]

UP_S = 60.0
"""Seconds that `herder up` may take to answer: 1.5 s on an idle machine with two cores, initdb included."""

GLANCE_S = 0.05
"""Seconds between looks at the API while something is waited for."""

KILL_S = 5.0
"""Seconds until a killed process must be gone."""

_NOT_INHERITED = ("HERDER_DIR", "HERDER_DATABASE_URL", "HERDER_NATS_URL", "HERDER_LISTEN", "HERDER_SUBNET")
"""What would make the throw-away herder share something with a real one of the same user."""


class Rig:
    """One herder of its own: `herder up` as a child process, everything it makes inside one directory.

    settings: as flags of `herder up` (name -> text). keep: leave the directory (not the processes) for a look at the
    logs. Errors of the API come as the types of `model.errors`.
    """

    def __init__(
        self, settings: Mapping[str, str] | None = None, directory: Path | None = None, *, keep: bool = False
    ) -> None:
        self.settings = dict(settings or {})
        self.keep = keep
        if directory is not None and directory.is_dir() and any(directory.iterdir()):
            raise InvalidInput(f"{directory} is not empty, and would be removed", "name one that is empty or missing")
        self.path = directory or make_directory(self.settings.get("engine_user", "nobody"))
        self.files = Directory(self.path)
        self.process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._restore: list[Callable[[], Any]] = []
        self._closed = False

    # --- its life -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the watchdog, then the control plane; when that fails nothing stays either."""
        self._mind_signals()
        try:
            self.path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            self._watchdog = _start_watchdog(self.path, self.settings, keep=self.keep)
            self.start_control_plane()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End everything and remove the directory; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        with _deaf_to_signals():
            try:
                if self.process is not None and self.process.poll() is None:
                    self.process.kill()  # it has nothing to say goodbye to, and a drain costs a second
                    self.process.wait(KILL_S)
                clear(self.path, self.settings, keep=self.keep)
            finally:
                if self._watchdog is not None and self._watchdog.stdin is not None:
                    self._watchdog.stdin.close()
                    self._watchdog.wait(60.0)
                for restore in self._restore:
                    restore()

    def start_control_plane(self, timeout: float = UP_S, through: Sequence[str] = ()) -> float:
        """Start `herder up` and wait until it answers; returns how many seconds that took. Raises Environment, TimedOut.

        through: a command that starts it, like `unshare` with its options.
        """
        if self._closed:
            raise Environment(f"{self.path} is closed")
        began = time.monotonic()
        words = [*through, sys.executable, "-m", "herder.cli.main", "up", f"--dir={self.path}", *_flags(self.settings)]
        environment = _environment() | {"PYTHONUNBUFFERED": "1"}
        if "database_url" in self.settings:
            environment["HERDER_DATABASE_URL"] = self.settings["database_url"]
        with self.files.log.open("ab") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/",
                start_new_session=True,
            )  # fmt: skip
        while not self.answers():
            if self.process.poll() is not None:
                raise Environment(f"herder did not start (exit {self.process.returncode}):\n{self.log_tail()}")
            if time.monotonic() - began > timeout:
                raise TimedOut(f"herder does not answer after {timeout:g} s:\n{self.log_tail()}")
            time.sleep(0.02)
        return time.monotonic() - began

    def kill_control_plane(self, *, everything: bool) -> float:
        """SIGKILL `herder up`; with `everything` also its nats-server and its own PostgreSQL. Agents and engines stay.

        Returns the monotonic time (seconds) at which all of it was gone.
        """
        if self.process is not None:
            self.process.kill()
            self.process.wait(KILL_S)
        if everything:
            procs.kill_until_gone(self._own_servers, KILL_S)
        return time.monotonic()

    def _own_servers(self, among: Iterable[int] | None = None) -> list[int]:
        """Its nats-server and its PostgreSQL: what works inside the directory, or names it, and is no server's."""
        watchdog = self._watchdog.pid if self._watchdog is not None else 0
        named = [pid for pid in (_all_pids() if among is None else among) if _is_nats_of(pid, self.path)]
        everything = {*procs.working_under(self.path, among), *named}
        # looked at last: an engine's backend that is forked between the two looks must not count as herder's own
        servers = set(procs.working_under(self.path / "servers", among))
        return [pid for pid in everything if pid not in servers and pid != watchdog]

    # --- asking it ------------------------------------------------------------------------------------------------

    def api(self, method: str, path: str, body: Any = None, timeout: float = 30.0) -> Any:
        """One request over the unix socket; the JSON value of the answer. Raises HerderError as the CLI would."""
        try:
            with socket_address(self.files.socket) as address:
                # verify: a certificate store costs 20 ms to load, for a socket that speaks no TLS
                transport = httpx.HTTPTransport(uds=address, verify=False)
                with httpx.Client(transport=transport, timeout=timeout) as client:
                    answer = client.request(method, f"http://herder{path}", json=body)
        except httpx.TimeoutException as error:
            raise TimedOut(f"{method} {path}: no answer after {timeout:g} s") from error
        except httpx.HTTPError as error:
            raise Unreachable(f"{method} {path}: {error!r}", f"look at {self.files.log}") from error
        if answer.status_code >= 400:
            raise _error(answer)
        return answer.json()

    def answers(self) -> bool:
        """Does the control plane answer now?"""
        try:
            self.api("GET", "/v1/healthz", timeout=2.0)
        except (Unreachable, TimedOut):
            return False
        return True

    def create(self, engine: str, name: str, plan: str, *, wait: bool = True, timeout: float = 60.0) -> Facts:
        """Ask for a service; with `wait` until it is available."""
        made: Facts = self.api("POST", "/v1/services", {"engine": engine, "name": name, "plan": plan})
        return self.wait(name, "available", timeout) if wait else made

    def show(self, name: str) -> Facts:
        """`herder show --json`."""
        found: Facts = self.api("GET", f"/v1/services/{name}")
        return found

    def services(self) -> list[Facts]:
        """`herder list --json`."""
        found: list[Facts] = self.api("GET", "/v1/services")
        return found

    def servers(self) -> list[Facts]:
        """`herder servers --json`."""
        found: list[Facts] = self.api("GET", "/v1/servers")
        return found

    def status(self) -> Facts:
        """`herder status --json`."""
        found: Facts = self.api("GET", "/v1/status")
        return found

    def events(self, name: str = "", limit: int = 1000) -> list[Facts]:
        """`herder events --json`, oldest first; '' = of everything."""
        found: list[Facts] = self.api("GET", f"/v1/events?name={name}&limit={limit}")
        return found

    def wait(self, name: str, state: str, timeout: float = 60.0) -> Facts:
        """`show` once the service is in that state. Raises TimedOut."""
        route = f"/v1/services/{name}/wait?state={state}&timeout_s={timeout:g}"
        found: Facts = self.api("GET", route, timeout=timeout + 10.0)
        return found

    def member(self, name: str, which: str) -> Facts:
        """One member of a service: by its id, or the first of a role ('primary', 'standby'). Raises NotFound."""
        for member in self.show(name)["members"]:
            if which in (member["id"], member["role"]):
                found: Facts = member
                return found
        raise NotFound(f"{name} has no member '{which}'")

    def server_of(self, member: Facts) -> Facts:
        """The server that a member runs on, as `servers`. Raises NotFound."""
        for server in self.servers():
            if server["id"] == member["server"]:
                return server
        raise NotFound(f"there is no server '{member['server']}'")

    @property
    def namespaces(self) -> bool:
        """Are servers network namespaces here, so that a cable can be pulled? Known once there is a server."""
        return any(server["namespace"] for server in self.servers())

    def until_well(self, timeout: float = 60.0) -> float:
        """Until nothing is ill and nothing is done about anything; returns the seconds waited. Raises TimedOut.

        Right after a fault everything still looks well: wait with `until_healed` there.
        """
        began = time.monotonic()
        while True:
            left = self._not_well()
            if not left:
                return time.monotonic() - began
            if time.monotonic() - began > timeout:
                raise TimedOut(f"not well after {timeout:g} s: {'; '.join(left)}", f"look at {self.files.log}")
            time.sleep(GLANCE_S)

    def until_healed(self, before: Facts, timeout: float = 60.0) -> float:
        """Until herder has answered a fault and all is well. before: `show` of the service before it. Raises TimedOut.

        Answered is: another member leads, or the primary's engine is another process than it was.
        """
        began = time.monotonic()
        while not self._answered(before):
            if time.monotonic() - began > timeout:
                raise TimedOut(f"herder has done nothing about {before['name']} for {timeout:g} s")
            time.sleep(GLANCE_S)
        self.until_well(max(timeout - (time.monotonic() - began), GLANCE_S))
        return time.monotonic() - began

    def _answered(self, before: Facts) -> bool:
        try:
            now = self.show(before["name"])
        except (Unreachable, TimedOut):
            return False
        leads, led = ([unit for unit in view["members"] if unit["role"] == "primary"] for view in (now, before))
        same_leader = [unit["id"] for unit in leads] == [unit["id"] for unit in led]
        return now["term"] != before["term"] or (
            same_leader and bool(leads) and leads[0]["pid"] not in (0, led[0]["pid"])
        )

    def _not_well(self) -> list[str]:
        try:
            status, services = self.status(), self.services()
        except (Unreachable, TimedOut) as error:
            return [error.message]
        left = [f"{unit['kind']} {unit['name']} is {unit['state']}: {unit['why']}" for unit in status["not_well"]]
        if status["us"]:
            left.append(str(status["us"]))
        for service in services:
            left += [f"{unit.get('name') or unit['id']} is doing {unit['doing']}"
                     for unit in (service, *service["members"]) if unit["doing"]]  # fmt: skip
            left += [f"{name} is no voter yet" for name in _voters_missing(service)]
        return left

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of herder.log."""
        try:
            text = self.files.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    # --- however its owner ends ---------------------------------------------------------------------------------------

    def _mind_signals(self) -> None:
        """SIGTERM and SIGHUP end the owner as an exception, so that `with` closes this; only the main thread may."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._restore.append(partial(signal.signal, number, signal.signal(number, _leave)))


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _voters_missing(service: Facts) -> list[str]:
    """Standbys of a sync plan that no commit counts on yet: it could not stand the next fault."""
    if service["plan"] != "premium" or service["engine"] != "postgres":
        return []
    return [member["id"] for member in service["members"] if member["role"] == "standby" and not member["voter"]]


@contextlib.contextmanager
def _deaf_to_signals() -> Iterator[None]:
    """A second Ctrl-C must not leave half of it running."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _error(answer: httpx.Response) -> HerderError:
    try:
        told = answer.json()
        return BY_CODE.get(told["error"], HerderError)(told["message"], told["hint"])
    except (ValueError, KeyError, TypeError):
        return HerderError(f"the control plane answered {answer.status_code}: {answer.text[:200]}")


# --- the directory and the processes ------------------------------------------------------------------------------


def make_directory(
    engine_user: str = "nobody", prefix: str = "herder-lab-", places: Sequence[Path] | None = None
) -> Path:
    """An empty directory that engines' user may pass through. Raises Environment when there is no such place."""
    root = os.geteuid() == 0
    for place in dict.fromkeys(map(str, places or (tempfile.gettempdir(), "/tmp", "/var/tmp"))):  # noqa: S108  the usual
        if os.access(place, os.W_OK) and (not root or _may_pass(Path(place), engine_user)):
            path = Path(tempfile.mkdtemp(prefix=prefix, dir=place)).resolve()
            path.chmod(0o711 if root else 0o700)
            return path
    raise Environment(
        f"'{engine_user}' cannot pass through {', '.join(map(str, places or ('/tmp', '/var/tmp')))}",  # noqa: S108
        "name a place that it can, or set TMPDIR to one",
    )


def _may_pass(path: Path, user: str) -> bool:
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        return True  # `herder up` says it better
    steps = (path.resolve(), *path.resolve().parents)
    return all(step.stat().st_mode & stat.S_IXOTH or step.stat().st_uid == uid for step in steps)


def _flags(settings: Mapping[str, str]) -> list[str]:
    words = []
    for name, text in settings.items():
        flag = f"--{name.replace('_', '-')}"
        if text in ("true", "false"):
            words.append(flag if text == "true" else flag.replace("--", "--no-", 1))
        elif name != "database_url":  # `ps` shows arguments to everybody
            words.append(f"{flag}={text}")
    return words


def _environment() -> dict[str, str]:
    """Ours, with a PYTHONPATH that also holds in another working directory."""
    kept = {name: text for name, text in os.environ.items() if name not in _NOT_INHERITED}
    paths = [str(Path(path).resolve()) for path in kept.get("PYTHONPATH", "").split(os.pathsep) if path]
    return kept | {"PYTHONPATH": os.pathsep.join(paths)} if paths else kept


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _is_nats_of(pid: int, directory: Path) -> bool:
    words = procs.command_line(pid)
    return bool(words) and "nats-server" in words[0] and any(str(directory) in word for word in words)


def clear(directory: Path, settings: Mapping[str, str], *, keep: bool) -> None:
    """End what runs for the directory and remove it; nothing to do when it is gone. Raises Unreachable.

    Engines of a frozen server are killed as others are; a controller that still holds the directory is killed first,
    since it would start again what is ended here.
    """
    if not directory.is_dir():
        return
    from herder.drivers.postgres import segments  # noqa: PLC0415  imports that a quiet watchdog never needs

    _end_controller(directory)
    # of engines that end with their host: the kernel of a real one would go with it
    memory = [left for each in directory.glob("**/postmaster.pid") if (left := segments.named_in(each)) is not None]
    try:
        if (directory / "VERSION").exists():
            from herder.wiring import tear_down  # noqa: PLC0415  a second of imports that a quiet watchdog never needs

            asyncio.run(tear_down(_in_force(directory, settings), servers=True))
    finally:  # whatever went wrong there, no process stays
        procs.kill_until_gone(partial(procs.working_under, directory), KILL_S)
        faults.sweep(directory)
        for segment in memory:
            segments.give_back(segment)
    if not keep:
        shutil.rmtree(directory, ignore_errors=True)
        if directory.exists():
            shutil.rmtree(directory)


def _in_force(directory: Path, settings: Mapping[str, str]) -> dict[str, Resolved]:
    return resolve({**settings, "dir": str(directory)}, environ=_environment())


def _end_controller(directory: Path) -> None:
    give_up = time.monotonic() + KILL_S
    while (pid := Directory(directory).controller()) is not None:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > give_up:
            raise Unreachable(f"the controller {pid} of {directory} does not end")
        time.sleep(0.02)


# --- the watchdog: `python -m herder.lab.rig DIRECTORY KEEP [NAME=TEXT ...]`, its owner's pipe as stdin ------------


def _start_watchdog(directory: Path, settings: Mapping[str, str], *, keep: bool) -> subprocess.Popen[bytes]:
    """A process in a session of its own, so that neither Ctrl-C nor a kill of the owner's group reaches it."""
    given = [f"{name}={text}" for name, text in settings.items()]
    words = [sys.executable, "-m", "herder.lab.rig", str(directory), "keep" if keep else "remove", *given]
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment(),
        cwd="/", start_new_session=True,
    )  # fmt: skip


def watch(directory: Path, settings: Mapping[str, str], *, keep: bool) -> None:
    """Until the owner's end of the pipe is closed: by its `close`, which leaves nothing to do, or by its death."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1024):
        pass
    for _ in range(3):  # what is started while it is torn down is met by the next try
        try:
            clear(directory, settings, keep=keep)
        except Exception:  # noqa: BLE001  whatever it is, what runs must end
            time.sleep(1.0)
        else:
            return


if __name__ == "__main__":
    watch(Path(sys.argv[1]), dict(word.split("=", 1) for word in sys.argv[3:]), keep=sys.argv[2] == "keep")
