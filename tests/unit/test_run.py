"""How tests are run is tested too: nobody is left out, what is in memory is found to fit, what engines leave is removed."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import leftovers, memory
from tests.schedule import PIECE, pieces

COLLECTED = [
    *(f"tests/acceptance/test_premium.py::test_{number}" for number in range(PIECE + 5)),
    *(f"tests/house/test_size.py::test_{number}" for number in range(3)),
    *(f"tests/house/test_docs.py::test_{number}" for number in range(PIECE)),
    *(f"tests/unit/test_names.py::test_a_name[{number}::x]" for number in range(2 * PIECE + 1)),
]

LEAVES = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
kept = libc.shmget(0, 4096, 0o600 | 0o1000)
if sys.argv[1] == "attached":
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat(kept, None, 0)
print(kept, flush=True)
sys.stdin.read()
"""

needs_shm = pytest.mark.skipif(
    not leftovers.SYSV.exists() or not leftovers.POSIX.is_dir(), reason="needs System V segments and /dev/shm"
)


def test_every_test_is_in_one_piece_and_whole_herders_are_in_one_for_a_file():
    found = pieces(COLLECTED)
    assert [test for tests in found.values() for test in tests] == COLLECTED
    assert [len(tests) for tests in found.values()] == [PIECE + 5, PIECE + 3, PIECE, PIECE, 1]


def test_there_is_room_only_in_a_memory_that_has_it(tmp_path: Path):
    assert not memory.has_room(tmp_path / "missing", bytes_free=0)
    assert not memory.has_room(Path("/proc"), bytes_free=0)
    assert not memory.has_room(memory.SHM, bytes_free=1 << 60)


WORKS = "import os, sys; os.chdir(sys.argv[1]); print(flush=True); sys.stdin.read()"


def test_what_still_works_in_a_directory_of_the_run_is_ended_and_nothing_else(tmp_path: Path):
    mine, other = tmp_path / "mine", tmp_path / "mine-too"
    (mine / "data").mkdir(parents=True)
    other.mkdir()
    made = [
        subprocess.Popen([sys.executable, "-c", WORKS, *words], stdin=-1, stdout=-1, text=True)
        for words in ([mine / "data"], ["/", mine / "data"], [other])
    ]
    try:
        for process in made:
            assert process.stdout
            process.stdout.readline()
        assert leftovers.end_all_in(mine) == 2
        assert [process.wait() for process in made[:2]] == [-signal.SIGKILL] * 2
        assert made[2].poll() is None
    finally:
        for process in made:
            process.communicate("")


@needs_shm
def test_what_a_dead_engine_left_is_removed_and_what_is_in_use_or_older_is_not():
    began, me = time.time() - 1.0, frozenset({os.geteuid()})
    made = {how: subprocess.Popen([sys.executable, "-c", LEAVES, how], stdin=-1, stdout=-1, text=True)
            for how in ("dead", "attached")}  # fmt: skip
    idents = {how: int(process.stdout.readline()) for how, process in made.items() if process.stdout}
    made["dead"].communicate("")
    free, used = (leftovers.POSIX / f"PostgreSQL.test-{os.getpid()}-{what}" for what in ("free", "used"))
    free.write_bytes(bytes(4096))
    used.write_bytes(bytes(4096))
    try:
        with used.open("r+b") as file, mmap.mmap(file.fileno(), 4096):
            assert leftovers.remove(time.time() + 60.0, me) == 0
            assert idents["dead"] in segments()
            leftovers.remove(began, me)
            assert (free.exists(), used.exists()) == (False, True)
            assert idents["dead"] not in segments()
            assert idents["attached"] in segments()
    finally:
        used.unlink()
        made["attached"].communicate("")
        leftovers.remove(began, me)
    assert idents["attached"] not in segments()


def segments() -> set[int]:
    """System V segments of the machine."""
    rows = leftovers.SYSV.read_text(encoding="ascii").splitlines()[1:]
    return {int(row.split()[1]) for row in rows}
