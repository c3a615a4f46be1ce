"""The CLI as a person has it: real commands, a real socket, and behind it a control plane with one service."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from herder.api.server import serve
from herder.cli import main
from tests.unit.api.standin import StandIn


@dataclass(frozen=True)
class Said:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A directory of its own, and no setting of whoever runs the tests."""
    for name in list(main.os.environ):
        if name.startswith("HERDER_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it: the output is a pipe's, as wide as it needs
    monkeypatch.setenv("HERDER_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def herder(home, monkeypatch, capsys):
    """Call it with the words that a person types."""

    def run(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["herder", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main.run()
        out, err = capsys.readouterr()
        return Said(int(end.value.code or 0), out, err)

    return run


@pytest.fixture
def plane(home):
    """A control plane behind the socket of `home`."""
    control = StandIn()
    up = threading.Event()
    loop = asyncio.new_event_loop()
    task = loop.create_task(serve(control, str(home / "run" / "herder.sock"), "", up.set))

    def turn() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            loop.close()

    thread = threading.Thread(target=turn)
    thread.start()
    assert up.wait(10)
    yield control
    loop.call_soon_threadsafe(task.cancel)
    thread.join(10)
    assert not thread.is_alive()
