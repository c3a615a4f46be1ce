"""Without root: the same services, on loopback addresses; what a user without namespaces cannot have is said."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

import herder
from herder.lab.rig import make_directory
from tests.acceptance.stage import Facts

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SOMEBODY = "nobody"
IMPORTS = "import herder.wiring, herder.lab.writer, pytest"


def as_somebody() -> list[str]:
    """What turns root into an ordinary user; nothing for one who is that already."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root needs `setpriv` (util-linux) to become an ordinary user")
    user = pwd.getpwnam(SOMEBODY)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--no-new-privs"]


def environment(home: Path) -> dict[str, str]:
    """A clean one, with this code and what it stands on."""
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    paths = [ROOT, Path(herder.__file__).resolve().parents[1], *given, sysconfig.get_path("purelib")]
    return {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PATH": f"{sysconfig.get_path('scripts')}:{os.defpath}:/usr/sbin",
        "PYTHONPATH": os.pathsep.join(os.path.realpath(path) for path in paths),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def interpreter(become: list[str], environ: dict[str, str]) -> str:
    """One that may be executed and finds everything; ours may lie in root's home."""
    # As a child of itself: setpriv's own exec is still root's.
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{IMPORTS}'], check=True)"
    candidates = (
        sys.executable,
        shutil.which(f"python3.{sys.version_info.minor}", path=os.defpath),
        "/usr/bin/python3",
    )
    for candidate in filter(None, candidates):
        words = [*become, candidate, "-c", program]
        if not subprocess.run(words, env=environ, cwd="/", capture_output=True, check=False).returncode:
            return candidate
    pytest.skip(f"{SOMEBODY} may execute no interpreter that finds herder: not {', '.join(map(str, candidates))}")


@pytest.fixture(scope="module")
def seen() -> Iterator[Facts]:
    """What a herder of an ordinary user saw."""
    home = make_directory(SOMEBODY, "herder-somebody-")
    become, environ = as_somebody(), environment(home)
    if become:
        shutil.chown(home, SOMEBODY)
    try:
        words = [*become, interpreter(become, environ), "-P", "-m", "tests.acceptance.ordinary", str(home)]
        done = subprocess.run(words, env=environ, cwd="/", capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        yield json.loads(done.stdout)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_an_ordinary_user_has_dev_and_standard_services_that_heal(seen: Facts):
    assert seen["uid"] != 0
    for name in ("notes", "reports"):
        assert (seen[name]["lost"], seen[name]["doubled"], seen[name]["by_two"]) == (0, 0, 0)
        assert seen[name]["led"] == seen[name]["leads"], "a killed engine is started again in place"
        assert seen[name]["acked"] > 0


def test_engines_run_as_the_user_on_loopback_addresses(seen: Facts):
    assert seen["owners"] == [seen["uid"]]
    assert all(address.startswith("127.") for address in seen["addresses"])


def test_what_needs_namespaces_is_refused_with_what_to_do(seen: Facts):
    assert seen["namespaces"] is False
    message, hint = seen["cable"]
    assert "share the host's network" in message
    assert "root" in hint


def test_nothing_of_it_is_left(seen: Facts):
    assert seen["left"] is False
