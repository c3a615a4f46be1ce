"""What every route shares: the control plane it asks, and waits that end when this process is asked to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from herder.api.control import Control
from herder.model.errors import Unreachable

T = TypeVar("T")


async def _control(request: Request) -> Control:
    control: Control = request.app.state.control
    return control


async def _closing(request: Request) -> asyncio.Event:
    closing: asyncio.Event = request.app.state.closing
    return closing


Asked = Annotated[Control, Depends(_control)]
Closing = Annotated[asyncio.Event, Depends(_closing)]


async def unless_closing(work: Coroutine[Any, Any, T], closing: asyncio.Event) -> T:
    """The result of `work`, or Unreachable as soon as `closing` is set: a long poll must not hold a stop up."""
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(closing.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Unreachable("the control plane is stopping", "services keep serving; ask again after `herder up`")
        return task.result()
    finally:
        stop.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def each_until_closing(items: AsyncIterator[T], closing: asyncio.Event) -> AsyncIterator[T]:
    """The items, ending without an error when `closing` is set."""
    try:
        while True:
            try:
                yield await unless_closing(_next(items), closing)
            except (Unreachable, _End):
                return
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


class _End(Exception):
    """StopAsyncIteration cannot leave a coroutine that runs as a task."""


async def _next(items: AsyncIterator[T]) -> T:
    try:
        return await anext(items)
    except StopAsyncIteration:
        raise _End from None
