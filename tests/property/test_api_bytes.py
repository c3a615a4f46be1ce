"""The API meets whatever is sent to it: an answer in its own words, never a crash, and nothing asked of the control plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from herder.api.app import build
from tests.property.test_outside_bytes import HOSTILE
from tests.unit.api.standin import StandIn

APP = build(StandIn(), asyncio.Event())
ROUTES = [
    (method.upper(), path) for path, methods in APP.openapi()["paths"].items() for method in methods if method != "get"
]
"""Those that take a body."""

BODIES = {name: data for name, data in HOSTILE.items() if data} | {
    "a list": b"[]",
    "null": b"null",
    "a number": b"1e999",
    "other types": b'{"engine": 1, "name": [], "plan": {}, "major": "x", "scope": null, "why": 3, "to": {}, "consent": []}',
    "a key too many": b'{"engine": "postgres", "name": "a", "plan": "dev", "scope": "fleet", "why": "x", "more": 1}',
    "a number past all words": b'{"engine": "postgres", "name": "a", "plan": "dev", "major": ' + b"9" * 400 + b"}",
}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(APP, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://herder") as client:
        yield client


def test_there_are_routes_that_change_something():
    assert len(ROUTES) > 10


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_body_that_is_none_is_refused_in_words(http: httpx.AsyncClient, body: bytes):
    for method, path in ROUTES:
        place = path.replace("{", "").replace("}", "")
        answer = await http.request(method, place, content=body, headers={"content-type": "application/json"})
        assert answer.status_code < 500 or answer.json()["error"] != "error", f"{method} {path}: {answer.text[:300]}"
        assert answer.status_code < 300 or {"error", "message", "hint"} == answer.json().keys()
