"""/v1/recovery and /v1/dependencies pass words on unchanged."""

from __future__ import annotations

from tests.unit.api.standin import PARKED, RECOVERY, STORE


async def test_recoveries_are_told_with_what_they_wait_for(http):
    answer = await http.get("/v1/recovery")
    assert answer.json() == {"incidents": [RECOVERY], "dependencies": [STORE], "parked": [PARKED]}
    assert (await http.get("/v1/dependencies")).json() == [STORE]


async def test_a_persons_word_reaches_the_control_plane(http, control):
    assert (await http.post("/v1/dependencies/object-store:eu-1/down")).status_code == 200
    assert control.asked == [("say_of_dependency", "object-store:eu-1", "down")]
