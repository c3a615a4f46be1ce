"""PostgreSQL log positions: `hi/lo` text, or one integer of bytes since the beginning of the log."""

from __future__ import annotations

import re

_HALVES = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse_lsn(text: str) -> int:
    """`'0/3000148'` -> bytes. Raises ValueError on anything else."""
    halves = _HALVES.fullmatch(text)
    if halves is None:  # `int` alone would also take '-1', '0x1' and '1_0'
        raise ValueError(f"not a log position: {text!r}")
    return (int(halves[1], 16) << 32) | int(halves[2], 16)


def format_lsn(position: int) -> str:
    """Bytes -> `'0/3000148'`, as PostgreSQL prints it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
