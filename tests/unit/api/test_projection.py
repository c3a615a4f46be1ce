"""/v1/projection: how far the rows are, and that a rebuild is begun and waited for."""

from __future__ import annotations

import asyncio

import httpx

from herder.api.app import build
from tests.unit.api.standin import PROJECTION, StandIn


async def test_a_rebuild_is_begun_and_its_end_can_be_waited_for():
    control = StandIn()
    transport = httpx.ASGITransport(build(control, asyncio.Event()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://herder") as client:
        begun = await client.post("/v1/projection/rebuild")
        assert (begun.status_code, begun.json()["rebuilding"]) == (202, True)
        assert (await client.get("/v1/projection", params={"ended": True})).json() == PROJECTION
    assert control.asked == [("rebuild_projection",), ("projection", True)]
