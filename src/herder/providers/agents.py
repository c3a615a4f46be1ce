"""A server's directory and the agent's first process: made, started, found again. No namespaces, no policy."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from herder.model.errors import Environment
from herder.ports.provider import Launch
from herder.providers import cgroups, files, procs

DEFAULT_COMMAND = (sys.executable, "-P", "-m", "herder.agent.main")
"""-P: the working directory, where engines write, must not be searched for modules."""

_KEPT = ("PATH", "LANG", "LC_ALL", "TZ")
_LOG_LIMIT = 1 << 20


def make_home(home: Path, engine_user: str) -> None:
    """Make the server's directory: `agent/` for the agent alone, `data/` for engines. Raises Environment."""
    home.mkdir(exist_ok=True)
    home.chmod(0o711)
    for name in ("agent", "data"):
        (home / name).mkdir(exist_ok=True)
        (home / name).chmod(0o700)
    if os.geteuid() != 0:
        return
    try:
        user = pwd.getpwnam(engine_user)
    except KeyError:
        raise Environment(
            f"there is no user '{engine_user}' for engines to run as", "set `engine_user` (HERDER_ENGINE_USER)"
        ) from None
    os.chown(home / "data", user.pw_uid, user.pw_gid)
    closed = closed_parent(home, user.pw_uid, user.pw_gid)
    if closed is not None:
        raise Environment(
            f"engines run as '{engine_user}', who cannot pass through {closed}",
            f"chmod o+x {closed}, or choose another data directory (HERDER_DIR)",
        )


def closed_parent(path: Path, uid: int, gid: int) -> Path | None:
    """The first directory on the way to `path` that the user may not pass; initdb would fail there, less clearly."""
    for parent in reversed(path.resolve().parents):
        seen = parent.stat()
        bit = stat.S_IXUSR if seen.st_uid == uid else stat.S_IXGRP if seen.st_gid == gid else stat.S_IXOTH
        if uid and not seen.st_mode & bit:
            return parent
    return None


def write_launch(home: Path, launch: Launch) -> None:
    """The token in it lets one join as this server: for the agent's eyes only."""
    files.write_synced(home / "agent" / "launch.json", msgspec.json.encode(launch), 0o600)


def environment(launch: Launch, home: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """A clean one: nothing of the controller's secrets. PYTHONPATH is made absolute, as the agent works elsewhere."""
    kept = {name: inherited[name] for name in _KEPT if name in inherited}
    if inherited.get("PYTHONPATH"):
        parts = inherited["PYTHONPATH"].split(os.pathsep)
        kept["PYTHONPATH"] = os.pathsep.join(os.path.realpath(part) for part in parts)
    marks = {"HERDER_SERVER": os.path.realpath(home), "HERDER_INCARNATION": str(launch.incarnation)}
    return {"PATH": os.defpath, "PYTHONUNBUFFERED": "1", **kept, **marks}


def start(
    command: Sequence[str], launch: Launch, home: Path, enter: Callable[[Callable[[], int]], int], group: Path | None
) -> int:
    """Start the agent in a session (and cgroup) of its own; returns its pid. `enter` runs its argument in the server.

    It must outlive this process, so nobody waits for it: `reap` collects it should it end first.
    """
    if shutil.which(command[0]) is None:
        raise Environment(f"the agent's program {command[0]} is not there", "install herder again")
    log = home / "agent" / "agent.log"
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_name("agent.log.1"))
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    arguments = [*command, os.path.realpath(home)]
    if group is not None:
        cgroups.make(group)
        arguments = cgroups.entering(group, arguments)

    def spawn() -> int:
        child = subprocess.Popen(
            arguments,
            cwd=home,
            env=environment(launch, home, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
        )
        child.returncode = 0  # tells Popen that nobody waits for it; otherwise its end is reported as a forgotten child
        return child.pid

    try:
        return enter(spawn)
    except OSError as error:
        raise Environment(f"the agent of {launch.server} cannot start: {error}", f"see {log}") from error
    finally:
        os.close(handle)


def find(command: Sequence[str], home: Path, incarnation: int, candidates: Iterable[int]) -> int:
    """The agent among these processes, or 0. For when a controller died between starting it and writing its pid down.

    By arguments and environment; of several (a fork that has not yet become something else) the oldest.
    """
    wanted = [*command, os.path.realpath(home)]
    mark = str(incarnation)
    agents = [
        (ticks, pid)
        for pid in candidates
        if procs.command_line(pid) == wanted
        and procs.environment(pid).get("HERDER_INCARNATION") == mark
        and (ticks := procs.start_ticks(pid)) is not None
    ]
    return min(agents)[1] if agents else 0


def reap(pids: Iterable[int]) -> None:
    """Collect those of our own children that ended; without it they stay in the table of processes as zombies."""
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue
