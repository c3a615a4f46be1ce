"""/v1/rollout passes words on unchanged, and orders to where they are carried out."""

from __future__ import annotations


async def test_rollouts_are_told_in_the_control_planes_own_words(http, control):
    assert (await http.get("/v1/rollout")).json() == await control.rollout()


async def test_an_order_begins_one_with_all_that_was_said(http, control):
    wanted = {"scope": "fleet", "image": "mended", "until": "6h", "why": "a hole"}
    assert (await http.post("/v1/rollout", json=wanted)).status_code == 201
    assert control.asked == [("rollout_reboot", "fleet", "mended", "6h", "a hole")]


async def test_an_order_without_a_scope_is_refused(http):
    assert (await http.post("/v1/rollout", json={"image": "mended"})).status_code == 422


async def test_orders_to_one_that_runs_go_through(http, control):
    await http.post("/v1/rollout/rollout-42/pause")
    await http.post("/v1/rollout/rollout-42/resume", json={"until": "2h"})
    assert control.asked == [
        ("order_rollout", "rollout-42", "pause", ""),
        ("order_rollout", "rollout-42", "resume", "2h"),
    ]
