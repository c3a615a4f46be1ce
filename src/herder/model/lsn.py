"""PostgreSQL log positions: `hi/lo` text, or one integer of bytes since the beginning of the log."""

from __future__ import annotations


def parse_lsn(text: str) -> int:
    """`'0/3000148'` -> bytes. Raises ValueError on anything else."""
    high, slash, low = text.partition("/")
    if not slash:
        raise ValueError(f"not a log position: {text!r}")
    return (int(high, 16) << 32) | int(low, 16)


def format_lsn(position: int) -> str:
    """Bytes -> `'0/3000148'`, as PostgreSQL prints it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
