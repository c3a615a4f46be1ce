"""The ledger's file: the old or the new version, whole, whatever fails and whenever its writer is killed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from herder.agent.ledger import FORGOTTEN_KEPT, Ledger, LedgerBroken
from tests.unit.agent.toy import spec_of

ROOT = Path(__file__).parents[3]
SPEC = spec_of("m1", Path("/nowhere"), 1)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.json")
    yield ledger
    ledger.close()


def mark_on_disk(path: Path) -> tuple[int, int]:
    ledger = Ledger(path)
    assert not ledger.broken
    entry = ledger.entry("m1")
    assert entry is not None
    return entry.mark


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize(
    ("module", "step", "nth"),
    [(os, "open", 1), (os, "write", 1), (os, "fsync", 1), (os, "fsync", 2), (Path, "replace", 1)],
)
async def test_a_write_that_fails_leaves_old_or_new_and_is_told(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, step: str, nth: int, code: int
) -> None:
    await ledger.admit("m1", 1, 0, SPEC)
    real = getattr(module, step)
    calls = 0

    def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, step, failing)
        with pytest.raises(LedgerBroken):
            await ledger.admit("m1", 2, 0, SPEC)
    assert mark_on_disk(tmp_path / "ledger.json") in [(1, 0), (2, 0)]
    assert os.strerror(code) in ledger.broken
    entry = ledger.entry("m1")
    assert entry is not None
    assert entry.mark == (2, 0)  # in memory a mark never goes back, or the next write could take it back on disk
    await ledger.admit("m1", 2, 0, SPEC)
    assert ledger.broken == ""
    assert mark_on_disk(tmp_path / "ledger.json") == (2, 0)


def test_a_writer_killed_at_any_point_leaves_what_it_promised(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    promised = 0
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": os.defpath}
    argv = [sys.executable, "-m", "tests.unit.agent.ledger_writer", str(path)]
    for lines in range(1, 9):
        writer = subprocess.Popen([*argv, str(promised)], env=environment, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(lines):
            promised = int(writer.stdout.readline())
        writer.kill()
        rest = writer.stdout.read().split()
        writer.stdout.close()
        writer.wait()
        promised = int(rest[-1]) if rest else promised
        kept = mark_on_disk(path)[0]
        assert kept in (promised, promised + 1)
        promised = kept


async def test_a_newer_ledger_is_not_misread(tmp_path: Path, ledger: Ledger) -> None:
    path = tmp_path / "ledger.json"
    await ledger.admit("m1", 1, 0, SPEC)
    from herder.agent import ledger as module

    path.write_bytes(module._sealed(module._Book(version=99)))
    newer = Ledger(path)
    assert "newer herder" in newer.broken
    with pytest.raises(LedgerBroken):
        await newer.admit("m1", 9, 0, SPEC)


async def test_what_is_forgotten_keeps_its_mark_and_is_bounded(tmp_path: Path, ledger: Ledger) -> None:
    await ledger.admit("m1", 4, 2, SPEC)
    await ledger.forget("m1")
    assert ledger.specs() == []
    assert mark_on_disk(tmp_path / "ledger.json") == (4, 2)
    forgotten = ledger._book.members["m1"]
    for number in range(FORGOTTEN_KEPT + 5):
        ledger._put(f"x{number}", forgotten)
    assert len(ledger._book.members) == FORGOTTEN_KEPT
