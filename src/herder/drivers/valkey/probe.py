"""A look at a Valkey server from outside, by address and without a password. Needs no client library."""

from __future__ import annotations

import asyncio
import contextlib

TRIES = 3
"""Connections begun in one probe, a third of the timeout apart: a lost SYN is repeated by the kernel only after 1 s."""

ANSWER_BYTES = 512
"""Enough for any first word. Not a whole line: whatever listens there may send one without an end."""

_STARTING = (b"-LOADING", b"-MASTERDOWN", b"-BUSY")


async def _ask(address: str, port: int, delay_s: float) -> str:
    await asyncio.sleep(delay_s)
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(b"*1\r\n$4\r\nPING\r\n")
        await writer.drain()
        answer = await reader.read(ANSWER_BYTES)
    finally:
        writer.transport.abort()  # no FIN handshake: a probe leaves nothing behind, also on a silent peer
    if not answer:
        raise ConnectionResetError("closed without an answer")
    return "starting" if answer.startswith(_STARTING) else "serving"


async def probe(address: str, port: int, timeout_s: float) -> str:
    """'serving', 'starting' (it loads its data), 'refused' (its kernel says nothing listens) or 'silent'.

    Any reply but loading counts as serving: '+PONG', and '-NOAUTH' or '-ERR max number of clients' too, since all are
    said by a living engine. A connection that is closed without a word is silence, not proof of anything.
    """
    tries = [asyncio.create_task(_ask(address, port, timeout_s * n / TRIES)) for n in range(TRIES)]
    try:
        async with asyncio.timeout(timeout_s):
            for finished in asyncio.as_completed(tries):
                with contextlib.suppress(OSError):
                    try:
                        return await finished
                    except ConnectionRefusedError:
                        return "refused"
    except TimeoutError:
        pass
    finally:
        for task in tries:
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)
    return "silent"
