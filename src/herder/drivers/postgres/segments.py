"""Shared memory that a killed PostgreSQL leaves in the kernel, given back where nobody starts in its directory again.

A start in the same directory does that itself. One that is copied anew, moved to the trash or removed has none: each leaves a System V
segment (56 bytes, but a machine has 4096 of them, and then no PostgreSQL starts on it) and a POSIX one (half a megabyte).
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path
from typing import NamedTuple

from herder.drivers.processes import started_at

SYSV = Path("/proc/sysvipc/shm")
POSIX = Path("/dev/shm")  # noqa: S108  where the C library's shm_open puts them

IPC_RMID, SHM_RDONLY = 0, 0o10000
MAGIC, HEAD = 679834894, struct.Struct("=iiQQI")
"""src/include/storage/pg_shmem.h (17, 18): magic, its creator's pid, two sizes, the handle of the control segment."""

CONTROL_MAGIC, CONTROL, ITEM_BYTES = 0x9A503D32, struct.Struct("=III"), 40
"""src/backend/storage/ipc/dsm.c: magic, items in use, items there may be; then the items, whose handle comes first."""


class Segment(NamedTuple):
    """What a data directory's pid file says of its System V segment."""

    key: int
    ident: int


def named_in(pid_file: Path) -> Segment | None:
    """The segment that a `postmaster.pid` names in its seventh line; None when there is none (yet)."""
    try:
        key, ident = pid_file.read_text(encoding="utf-8", errors="replace").splitlines()[6].split()
        return Segment(int(key), int(ident))
    except (OSError, IndexError, ValueError):
        return None


def listed() -> list[dict[str, int]]:
    """Every System V segment of this machine, by the kernel's own names of its columns (shmid, nattch, cpid, ...)."""
    try:
        names, *rows = (line.split() for line in SYSV.read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return []
    return [{name: int(value) for name, value in zip(names, row, strict=False)} for row in rows]


def give_back(segment: Segment) -> int:
    """Remove it and what it leads to, once no process has it; how many were removed. Another's, or one in use, is left."""
    if not _is_abandoned(segment):
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    control = _control(libc, segment.ident)
    if libc.shmctl(segment.ident, IPC_RMID, None) != 0:
        return 0
    return 1 + (_remove_posix(control) if control else 0)


def _is_abandoned(segment: Segment) -> bool:
    """It is still the one with this key, nobody has it attached, and its creator is gone."""
    found = next((row for row in listed() if row["shmid"] == segment.ident), None)
    if found is None or found["key"] & 0xFFFF_FFFF != segment.key & 0xFFFF_FFFF:
        return False
    return not found["nattch"] and started_at(found["cpid"]) is None


def _control(libc: ctypes.CDLL, ident: int) -> int:
    """The handle of the control segment of its POSIX ones, 0 when it does not tell."""
    libc.shmat.restype = ctypes.c_void_p
    at = libc.shmat(ident, None, SHM_RDONLY)
    if at is None or at == ctypes.c_void_p(-1).value:
        return 0
    try:
        magic, _, _, _, handle = HEAD.unpack(ctypes.string_at(at, HEAD.size))
    finally:
        libc.shmdt(ctypes.c_void_p(at))
    return handle if magic == MAGIC else 0


def _remove_posix(control: int) -> int:
    path = POSIX / f"PostgreSQL.{control}"
    try:
        with path.open("rb") as file:
            magic, used, _ = CONTROL.unpack(file.read(CONTROL.size))
            file.read(4)  # items begin at a multiple of eight
            items = file.read(used * ITEM_BYTES) if magic == CONTROL_MAGIC else b""
    except (OSError, struct.error):
        return 0
    handles = [int.from_bytes(items[at : at + 4], "little") for at in range(0, len(items), ITEM_BYTES)]
    removed = 0
    for handle in (*handles, control):
        left = POSIX / f"PostgreSQL.{handle}"
        if left.exists():
            left.unlink(missing_ok=True)
            removed += 1
    return removed
