"""Work in a thread is not outlived by the word that it was cancelled."""

import asyncio
import threading

import pytest

from herder.drivers.processes import in_thread


async def test_a_cancelled_caller_ends_after_its_thread():
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(10)
        ended.set()

    caller = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, 10)
    caller.cancel()
    done, _ = await asyncio.wait({caller}, timeout=0.01)
    assert not done
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()


async def test_what_it_returns_and_raises_is_passed_on():
    assert await in_thread(int, "7") == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await in_thread(int, "x")
