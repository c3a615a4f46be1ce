"""Starting and stopping as processes: the control plane itself is a stand-in, the processes, locks and signals are real."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from herder.directory import Directory
from herder.model.errors import Conflict, Environment

ROOT = Path(__file__).resolve().parents[3]

WIRING = f"""
import os, sys, types
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "src")!r}]

async def run(settings, ready):
    import asyncio
    from herder.api.server import serve
    from herder.model.errors import Environment
    from tests.unit.api.standin import StandIn
    async with asyncio.TaskGroup() as group:
        if os.environ.get("STAND_IN_FAILS"):
            raise Environment("there is no nats-server", "install it")
        path = settings["dir"].value + "/run/herder.sock"
        group.create_task(serve(StandIn(), path, "", ready))

async def tear_down(settings, servers):
    open(settings["dir"].value + "/torn", "w").write(str(servers))

sys.modules["herder.wiring"] = wiring = types.ModuleType("herder.wiring")
wiring.run, wiring.tear_down = run, tear_down
"""


@pytest.fixture
def place():
    """A directory that an engine's user may pass through; every pytest that starts shuts those of `tmp_path` again."""
    with tempfile.TemporaryDirectory(prefix="herder-up-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def data(place):
    """A data directory whose controller is ended whatever the test does."""
    yield Directory(place / "data")
    pid = Directory(place / "data").controller()
    if pid:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def environment(place):
    (place / "site").mkdir()
    (place / "site" / "sitecustomize.py").write_text(WIRING)
    kept = {name: text for name, text in os.environ.items() if not name.startswith("HERDER_")}
    return kept | {"PYTHONPATH": str(place / "site"), "HERDER_DIR": str(place / "data")}


@pytest.fixture
def herder(environment):
    def run(*words, **more):
        command = [sys.executable, "-m", "herder.cli.main", *words]
        return subprocess.run(
            command,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run


def test_up_serves_until_it_is_told_to_stop_and_says_that_services_go_on(data, environment):
    command = [sys.executable, "-m", "herder.cli.main", "up"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as up:
        lines = iter(up.stdout.readline, "")
        assert any("herder is up" in line for line in lines)
        assert data.controller() == up.pid
        up.send_signal(signal.SIGINT)
        rest = "".join(lines)
        assert up.wait(10) == 0
    assert "keep serving" in rest
    assert not data.socket.exists()
    assert data.controller() is None


def test_up_in_the_background_answers_when_it_returns_and_down_ends_it(data, herder):
    up = herder("up", "--detach", "--json")
    assert up.returncode == 0, up.stderr
    assert json.loads(up.stdout)["pid"] == data.controller()
    assert herder("list", "--json").returncode == 0
    second = herder("up")
    assert second.returncode == Conflict.exit_code
    assert "already runs" in second.stderr
    down = herder("down", "--json")
    assert json.loads(down.stdout)["stopped"] is True
    assert data.controller() is None
    assert (data.path / "torn").read_text() == "False"


def test_up_in_the_background_that_fails_shows_the_last_lines_of_its_log(data, herder):
    up = herder("up", "--detach", STAND_IN_FAILS="1")
    assert up.returncode == Environment.exit_code
    assert "error: there is no nats-server" in up.stderr
    assert str(data.log) in up.stderr


def test_down_after_a_kill_cleans_up_what_was_left(data, herder):
    up = herder("up", "--detach", "--json")
    assert up.returncode == 0, up.stderr
    os.kill(json.loads(up.stdout)["pid"], signal.SIGKILL)
    down = herder("down", "--servers", "--yes")
    assert down.returncode == 0, down.stderr
    assert (data.path / "torn").read_text() == "True"


def test_ending_every_server_is_asked_for_first(data, herder):
    data.path.mkdir()
    down = herder("down", "--servers")
    assert down.returncode == 5
    assert "--yes" in down.stderr


def test_secrets_do_not_show_among_the_arguments_of_the_process(data, herder):
    url = "postgresql://u:hidden@h/d"
    pid = json.loads(herder("up", "--detach", "--json", f"--database-url={url}").stdout)["pid"]
    assert b"hidden" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert f"HERDER_DATABASE_URL={url}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
