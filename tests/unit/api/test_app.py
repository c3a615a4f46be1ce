"""The routes pass words on unchanged, and every error is said the same way."""

import asyncio
import json

import httpx
import pytest

from herder.api.app import build
from herder.model.errors import ERRORS
from tests.unit.api.standin import StandIn


@pytest.fixture
def control() -> StandIn:
    return StandIn()


@pytest.fixture
def closing() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def http(control, closing):
    transport = httpx.ASGITransport(build(control, closing), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://herder") as client:
        yield client


@pytest.mark.parametrize(
    ("route", "method"),
    [
        ("/v1/services", "services"),
        ("/v1/servers", "servers"),
        ("/v1/agents", "agents"),
        ("/v1/status", "status"),
        ("/v1/pages", "pages"),
        ("/v1/config", "config"),
    ],
)
async def test_a_question_is_answered_with_the_control_planes_own_words(http, control, route, method):
    answer = await http.get(route)
    assert answer.status_code == 200
    assert answer.json() == await getattr(control, method)()


async def test_healthz_answers_without_asking_the_control_plane(http):
    assert (await http.get("/v1/healthz")).json()["ok"] is True


async def test_a_service_is_created_once_for_one_idempotency_key(http, control):
    wanted = {"engine": "postgres", "name": "bills", "plan": "dev"}
    first = await http.post("/v1/services", json=wanted, headers={"Idempotency-Key": "k1"})
    again = await http.post("/v1/services", json=wanted, headers={"Idempotency-Key": "k1"})
    other = await http.post("/v1/services", json=wanted, headers={"Idempotency-Key": "k2"})
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 409)
    assert again.json() == first.json()


async def test_a_misspelt_field_is_refused_rather_than_ignored(http):
    answer = await http.post("/v1/services", json={"engine": "postgres", "name": "a", "plan": "dev", "mayor": 17})
    assert answer.status_code == 422
    assert answer.json()["error"] == "invalid_input"
    assert "mayor" in answer.json()["message"]


@pytest.mark.parametrize("kind", ERRORS)
async def test_every_error_carries_its_code_words_and_status(http, control, kind, monkeypatch):
    async def fail():
        raise kind("what is wrong", "what to do")

    monkeypatch.setattr(control, "services", fail)
    answer = await http.get("/v1/services")
    assert answer.status_code == kind.http_status
    assert answer.json() == {"error": kind.code, "message": "what is wrong", "hint": "what to do"}


async def test_a_bug_is_called_a_bug(http, control, monkeypatch):
    async def fail():
        raise ValueError("unforeseen")

    monkeypatch.setattr(control, "services", fail)
    answer = await http.get("/v1/services")
    assert answer.status_code == 500
    assert "bug" in answer.json()["message"]


async def test_an_unknown_route_is_not_found_in_the_same_form(http):
    answer = await http.get("/v1/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"] == "not_found"


async def test_events_are_asked_for_by_name_and_limit(http, control):
    await http.get("/v1/events", params={"name": "orders", "limit": 7})
    assert ("events", "orders", 7) in control.asked


async def test_destroy_needs_the_name_as_consent(http):
    refused = await http.request("DELETE", "/v1/services/orders", json={"consent": "order"})
    done = await http.request("DELETE", "/v1/services/orders", json={"consent": "orders"})
    assert (refused.status_code, done.status_code) == (403, 200)


async def test_a_switchover_may_name_its_target_or_leave_it(http, control):
    await http.post("/v1/services/orders/switchover", json={"to": "orders-2"})
    await http.post("/v1/services/orders/switchover")
    assert control.asked == [("switchover", "orders", "orders-2"), ("switchover", "orders", "")]


async def test_a_wait_that_ends_in_time_answers_and_one_that_does_not_says_so(http):
    well = await http.get("/v1/services/orders/wait", params={"state": "available", "timeout_s": 5})
    late = await http.get("/v1/services/orders/wait", params={"state": "retired", "timeout_s": 0})
    assert (well.status_code, late.status_code) == (200, 504)


async def test_a_long_poll_ends_when_the_control_plane_stops(http, control, closing):
    poll = asyncio.ensure_future(http.get("/v1/services/orders/wait", params={"state": "retired", "timeout_s": 600}))
    async with asyncio.timeout(5):
        await control.waiting.wait()
        closing.set()
        assert (await poll).status_code == 503


async def test_watch_url_streams_a_line_for_each_change_and_ends_with_the_control_plane(http, control, closing):
    for primary in ("orders-1", "orders-2"):
        control.changes.put_nowait({"url": "u", "read_url": "r", "primary": primary, "at_ms": 1})
    streamed = asyncio.ensure_future(http.get("/v1/services/orders/watch-url"))
    async with asyncio.timeout(5):
        await control.changes.join()
        closing.set()
        lines = (await streamed).text.splitlines()
    assert [json.loads(line)["primary"] for line in lines] == ["orders-1", "orders-2"]


async def test_watching_an_unknown_service_is_not_found_before_anything_streams(http):
    assert (await http.get("/v1/services/nobody/watch-url")).status_code == 404
