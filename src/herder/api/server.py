"""Serves the API on the unix socket (for its owner) and, where asked, on TCP (for holders of the token)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from herder.api.app import build
from herder.api.control import Control
from herder.directory import socket_address
from herder.model.errors import Environment, InvalidInput

DRAIN_S = 0.5
"""Seconds that requests may take to end when stopping; long polls and streams are told to end at once."""


async def serve(control: Control, socket_path: str, listen: str, ready: Callable[[], None]) -> None:
    """Until cancelled. `ready` is called once connections are accepted. Raises Environment when it cannot bind.

    The unix socket is the credential there: its file is 0600. TCP has no file mode, and show answers with passwords,
    so that requests there carry `Authorization: Bearer` with the content of `token` beside the socket.
    """
    closing = asyncio.Event()
    app = build(control, closing)
    path = Path(socket_path)
    sockets: list[tuple[socket.socket, ASGIApp]] = [(_bind_unix(path), app)]
    try:
        if listen:
            sockets.append((_bind_tcp(listen), _WithToken(app, token_beside(path))))
        servers = [(_Server(_config(served)), bound) for bound, served in sockets]
        await _run(servers, closing, ready)
    finally:
        for bound, _ in sockets:
            bound.close()
        path.unlink(missing_ok=True)


async def _run(servers: list[tuple[_Server, socket.socket]], closing: asyncio.Event, ready: Callable[[], None]) -> None:
    tasks = [asyncio.ensure_future(server.serve(sockets=[bound])) for server, bound in servers]
    accepting = asyncio.ensure_future(_accepting(servers))
    try:
        await asyncio.wait({*tasks, accepting}, return_when=asyncio.FIRST_COMPLETED)
        if accepting.done():
            ready()
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        accepting.cancel()
        closing.set()
        for server, _ in servers:
            server.should_exit = True
        _, late = await asyncio.wait(tasks, timeout=DRAIN_S)
        for server, _ in servers:
            for request in server.server_state.tasks:
                request.cancel()
        if late:
            _, stuck = await asyncio.wait(late, timeout=DRAIN_S / 2)
            for task in stuck:
                task.cancel()


async def _accepting(servers: list[tuple[_Server, socket.socket]]) -> None:
    for server, _ in servers:
        await server.accepting.wait()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has other things to end besides HTTP."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.accepting.set()


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=30,
    )


def _bind_unix(path: Path) -> socket.socket:
    """The caller holds the directory's lock: a socket that is still there is a dead process's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)  # 0600 from its first moment, not a moment later by chmod
    try:
        with socket_address(path) as address:
            bound.bind(address)
    except OSError as error:
        bound.close()
        raise Environment(f"cannot make the socket {path}: {error.strerror}", "choose another --dir") from None
    finally:
        os.umask(umask)
    bound.listen(128)
    return bound


def _bind_tcp(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit():
        raise InvalidInput(f"'{listen}' is not HOST:PORT", "like 127.0.0.1:8080")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise Environment(f"cannot listen on {listen}: {error.strerror}", "name an address of this machine") from None
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        taken = error.errno == errno.EADDRINUSE
        why = "the port is taken" if taken else error.strerror
        raise Environment(f"cannot listen on {listen}: {why}", "choose another with --listen (HERDER_LISTEN)") from None
    bound.listen(128)
    return bound


def token_beside(socket_path: Path) -> str:
    """The token of TCP requests: kept in `token` beside the socket, readable by its owner, made at the first need."""
    path = socket_path.with_name("token")
    if not path.is_file() or not path.read_text(encoding="ascii").strip():
        made = path.with_suffix(".new")
        made.unlink(missing_ok=True)
        handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        made.replace(path)
    return path.read_text(encoding="ascii").strip()


class _WithToken:
    """Lets through who sends the token, and /v1/healthz for those who only watch."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        assert token, "an empty token would let everybody in"
        self._app = app
        self._wanted = f"Bearer {token}".encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).get("authorization", "").encode("utf-8", "replace")
        if scope["path"] == "/v1/healthz" or hmac.compare_digest(given, self._wanted):
            await self._app(scope, receive, send)
            return
        answer: dict[str, Any] = {
            "error": "refused",
            "message": "this needs the token of the control plane",
            "hint": "send `Authorization: Bearer TOKEN`; TOKEN is in run/token of the data directory",
        }
        await JSONResponse(answer, status_code=401)(scope, receive, send)
