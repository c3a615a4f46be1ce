"""HTTP over the unix socket. Answers come back as JSON values, errors as the same types that the control plane raised.

The standard library's client, because importing httpx takes 0.5 s and a person at 3 am types `herder status`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from herder.directory import socket_address
from herder.model.errors import BY_CODE, HerderError, Unreachable

if TYPE_CHECKING:
    import http.client

ANSWER_S = 30.0
"""Seconds for an answer besides what was asked to be waited for: a command commits in milliseconds, a store that is
starting takes seconds."""


class Client:
    """Asks one control plane. Every method raises HerderError; Unreachable when nobody answers."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, route: str, *, wait_s: float = 0.0, **query: Any) -> Any:
        """The answer to a GET. wait_s: how long the answer may take beyond the usual."""
        return self._ask("GET", _with_query(route, query), None, {}, wait_s)

    def post(self, route: str, body: Any = None, *, key: str = "") -> Any:
        """The answer to a POST. key: the Idempotency-Key."""
        return self._ask("POST", route, body, {"Idempotency-Key": key} if key else {}, 0.0)

    def put(self, route: str, body: Any) -> Any:
        """The answer to a PUT."""
        return self._ask("PUT", route, body, {}, 0.0)

    def delete(self, route: str, body: Any) -> Any:
        """The answer to a DELETE."""
        return self._ask("DELETE", route, body, {}, 0.0)

    def lines(self, route: str) -> Iterator[Any]:
        """Each line of an endless answer as it comes; ends when the control plane stops."""
        from http.client import HTTPException

        connection = self._connect(None)
        try:
            response = self._send(connection, "GET", route, None, {})
            while line := response.readline():
                yield json.loads(line)
        except (OSError, HTTPException) as error:
            raise self._gone(error) from None
        finally:
            connection.close()

    def alive(self) -> bool:
        """Does a control plane answer here, now?"""
        try:
            self.get("/v1/healthz")
        except HerderError:
            return False
        return True

    def _ask(self, method: str, route: str, body: Any, headers: dict[str, str], wait_s: float) -> Any:
        from http.client import HTTPException

        connection = self._connect(ANSWER_S + wait_s)
        try:
            return json.loads(self._send(connection, method, route, body, headers).read())
        except TimeoutError:
            raise Unreachable(
                f"the control plane does not answer ({ANSWER_S + wait_s:.0f} s)", f"look at {self._log}"
            ) from None
        except (OSError, HTTPException, ValueError) as error:
            raise self._gone(error) from None
        finally:
            connection.close()

    def _connect(self, timeout_s: float | None) -> http.client.HTTPConnection:
        from http.client import HTTPConnection

        connection = HTTPConnection("herder", timeout=timeout_s)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(timeout_s)
        try:
            with socket_address(self._path) as address:
                connection.sock.connect(address)
        except PermissionError:
            connection.close()
            raise Unreachable(
                f"{self._path} belongs to another user", "run this as the user who ran `herder up`"
            ) from None
        except OSError:
            connection.close()
            raise Unreachable(
                f"no control plane runs in {self._path.parent.parent}",
                "start it with `herder up`, or name another directory with --dir (HERDER_DIR)",
            ) from None
        return connection

    def _send(
        self, connection: http.client.HTTPConnection, method: str, route: str, body: Any, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            headers = {**headers, "Content-Type": "application/json"}
        connection.request(method, route, content, headers)
        response = connection.getresponse()
        if response.status >= 400:
            raise _error(response.read())
        return response

    def _gone(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"the control plane went away ({error!r})",
            f"services keep serving; look at {self._log}, then `herder up`",
        )

    @property
    def _log(self) -> Path:
        return self._path.parent.parent / "herder.log"


def _with_query(route: str, query: dict[str, Any]) -> str:
    given = {name: value for name, value in query.items() if value not in {None, ""}}
    return f"{route}?{urlencode(given)}" if given else route


def _error(content: bytes) -> HerderError:
    """The error as the control plane raised it; one that this version does not know keeps its words."""
    try:
        told = json.loads(content)
        kind = BY_CODE.get(told["error"], HerderError)
        return kind(told["message"], told["hint"])
    except (ValueError, KeyError, TypeError):
        return HerderError(f"the control plane answered: {content[:200].decode('utf-8', 'replace')}")
