"""Waiting for what another process does: polled under a deadline, because it cannot signal us."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path


def let_pass(directory: Path) -> None:
    """Let another user reach a test's directory: as root the servers and engines run as somebody else."""
    for each in (directory, *directory.parents):
        if each.owner() == Path.home().owner() and each.name.startswith(("pytest-", "popen-", "test_")):
            each.chmod(0o755)


async def later(seconds: float) -> None:
    """Real time passing: between two looks of `until`, or as a clock's sleep. Nothing else may wait by it."""
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    timer = loop.call_later(seconds, passed.set_result, None)
    try:
        await passed
    finally:
        timer.cancel()


async def until(true: Callable[[], bool | Awaitable[bool]], what: str, timeout_s: float = 10.0) -> None:
    """Return when `true()` holds; fail with `what` when it does not come to."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                answer = true()
                if answer if isinstance(answer, bool) else await answer:
                    return
                await later(0.005)
    except TimeoutError:
        raise AssertionError(f"never came: {what}") from None
