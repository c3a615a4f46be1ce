"""Time and randomness are passed in, so that a simulated hour and a real one run the same code."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Two times: `now_ms` for records and people, `monotonic` for waiting."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Random(Protocol):
    """What needs chance: tokens, passwords, jitter."""

    def token(self, nbytes: int) -> str:
        """A URL-safe secret of that much entropy."""

    def jitter(self, ceiling_s: float) -> float:
        """Uniform in [0, ceiling_s): full jitter for backoff."""
