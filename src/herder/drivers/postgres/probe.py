"""A look at a PostgreSQL member from outside, with nothing but sockets: the other vantage points use it."""

from __future__ import annotations

import asyncio
import struct

TRIES = 3
"""Connections begun within the time allowed, a third of it apart: a link that loses packets loses SYNs, and the kernel
sends one again only after a second."""

_PROTOCOL = 196608  # 3.0
_PARAMETERS = b"user\0herder_probe\0database\0postgres\0application_name\0herder probe\0\0"
STARTUP = struct.pack("!II", 8 + len(_PARAMETERS), _PROTOCOL) + _PARAMETERS


def verdict(answer: bytes) -> str:
    """What the first message of a server means: an error with SQLSTATE 57P03 is 'starting' (also shutting down), anything
    else, asking for a password or refusing this user included, is a server that serves.
    """
    return "starting" if answer[:1] == b"E" and b"C57P03\0" in answer else "serving"


async def _ask(address: str, port: int) -> str:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(STARTUP)
        head = await reader.readexactly(5)
        length = struct.unpack("!I", head[1:])[0] - 4
        return verdict(head + await reader.readexactly(min(max(length, 0), 8192)))
    finally:
        writer.transport.abort()


async def _try(address: str, port: int, delay_s: float) -> str | None:
    """One try's answer; None when it brought none (no route, or cut off before a word: its process may have just died)."""
    await asyncio.sleep(delay_s)
    try:
        return await _ask(address, port)
    except ConnectionRefusedError:
        return "refused"
    except (OSError, asyncio.IncompleteReadError):
        return None


async def probe(address: str, port: int, timeout_s: float) -> str:
    """'serving', 'refused', 'silent' or 'starting' (ports/driver.Probe). Any answer of any try wins.

    A frozen process is 'silent': its kernel accepts the connection, and nothing comes.
    """
    tasks = [asyncio.create_task(_try(address, port, timeout_s * n / TRIES)) for n in range(TRIES)]
    try:
        for finished in asyncio.as_completed(tasks, timeout=timeout_s):
            answer = await finished
            if answer is not None:
                return answer
    except TimeoutError:
        pass
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return "silent"
