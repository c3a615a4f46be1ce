"""/v1/storm passes words on unchanged, and orders to where they are carried out."""

from __future__ import annotations

import pytest


async def test_the_storm_is_told_in_the_control_planes_own_words(http, control):
    assert (await http.get("/v1/storm")).json() == await control.storm()


async def test_a_scope_is_frozen_once_and_released_once(http, control):
    wanted = {"scope": "zone:a", "why": "a switch is replaced"}
    first = await http.post("/v1/storm/freezes", json=wanted)
    again = await http.post("/v1/storm/freezes", json=wanted)
    assert (first.status_code, again.status_code) == (201, 409)
    assert first.json()["freezes"][0]["why"] == "a switch is replaced"
    released = await http.request("DELETE", "/v1/storm/freezes", json={"scope": "zone:a"})
    missing = await http.request("DELETE", "/v1/storm/freezes", json={"scope": "zone:a"})
    assert (released.status_code, missing.status_code) == (200, 404)


@pytest.mark.parametrize("wrong", [{"scope": "zone:a"}, {"scope": "zone:a", "why": "x", "hours": 3}])
async def test_a_freeze_that_lacks_something_is_refused(http, wrong):
    assert (await http.post("/v1/storm/freezes", json=wrong)).status_code == 422


async def test_an_order_goes_to_the_recovery(http, control):
    answer = await http.post("/v1/storm/incidents/incident-12/pause")
    assert answer.status_code == 200
    assert control.asked == [("order_recovery", "incident-12", "pause")]
