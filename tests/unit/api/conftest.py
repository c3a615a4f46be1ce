"""The routes over a stand-in control plane, reached without a socket."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from herder.api.app import build
from tests.unit.api.standin import StandIn


@pytest.fixture
def control() -> StandIn:
    return StandIn()


@pytest.fixture
async def http(control):
    transport = httpx.ASGITransport(build(control, asyncio.Event()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://herder") as client:
        yield client
