"""What a person asks for by name: made, shown, listed, connected to, destroyed; through the real command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from herder.directory import socket_address
from herder.lab import faults
from herder.lab.rig import Rig
from tests.acceptance.stage import Facts, herder, pids, query, runs, until, until_well

pytestmark = pytest.mark.slow

MEMBER = {
    "id", "role", "state", "server", "address", "port", "pid", "data_dir", "timeline", "lsn", "lag_bytes", "voter",
}  # fmt: skip


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig({"failovers_per_hour": "100"}) as made:
        yield made


@pytest.fixture(scope="module")
def notes(rig: Rig) -> Facts:
    """A dev PostgreSQL, made by the command line."""
    made: Facts = herder(rig, "create", "postgres", "notes", "--plan=dev", "--wait", "--json").json
    return made


def asked(rig: Rig, body: Facts, key: str) -> tuple[int, Any]:
    """POST /v1/services with an Idempotency-Key."""
    with socket_address(rig.files.socket) as address, httpx.Client(transport=httpx.HTTPTransport(uds=address)) as http:
        answer = http.post("http://herder/v1/services", json=body, headers={"Idempotency-Key": key}, timeout=30.0)
    return answer.status_code, answer.json()


def test_a_service_made_with_wait_takes_writes_and_is_shown_with_its_members(rig: Rig, notes: Facts):
    assert notes["state"] == "available"
    query(notes, "CREATE TABLE notes AS SELECT 42 AS answer")
    shown = herder(rig, "show", "notes", "--json").json
    assert {"name", "kind", "plan", "state", "url", "read_url", "term", "members"} <= shown.keys()
    assert (shown["name"], shown["plan"], shown["term"]) == ("notes", "dev", 1)
    assert [member.keys() >= MEMBER for member in shown["members"]] == [True]
    assert [service["name"] for service in herder(rig, "list", "--json").json] == ["notes"]
    assert herder(rig, "url", "notes").out.strip() == shown["url"]


def test_psql_opens_the_service(rig: Rig, notes: Facts):
    said = herder(rig, "psql", "notes", "--", "-XAtc", "SELECT current_database(), current_setting('data_checksums')")
    assert (said.code, said.out) == (0, "app|on\n"), said


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("create", "postgres", "notes"), 4, "conflict"),
        (("create", "postgres", "Not_A_Label"), 2, "invalid_input"),
        (("create", "postgres", "other", "--plan=golden"), 2, "invalid_input"),
        (("create", "oracle", "other"), 2, "invalid_input"),
        (("show", "nobody"), 3, "not_found"),
        (("destroy", "nobody", "--consent=nobody"), 3, "not_found"),
        (("switchover", "notes"), 5, "refused"),
        (("wait", "notes", "--for=retired", "--timeout=0.2"), 7, "timed_out"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
@pytest.mark.usefixtures("notes")
def test_what_cannot_be_done_is_told_as_json_with_a_hint_and_an_exit_code(
    rig: Rig, words: tuple[str, ...], code: int, error: str
):
    said = herder(rig, *words, "--json")
    assert (said.code, said.error["error"]) == (code, error), said
    assert said.error["message"]
    assert said.error["hint"]
    assert said.out == ""


def test_the_same_key_again_answers_with_the_same_service(rig: Rig):
    body = {"engine": "valkey", "name": "twice", "plan": "dev"}
    first, second = asked(rig, body, "one-wish"), asked(rig, body, "one-wish")
    assert [status for status, _ in (first, second)] == [201, 201]
    assert first[1]["members"][0]["address"] == second[1]["members"][0]["address"]
    assert asked(rig, body, "another-wish")[0] == 409, "another wish for a name that is taken"
    assert [service["name"] for service in rig.services()].count("twice") == 1


class TestDestroy:
    """Only with the name typed, and nothing is deleted."""

    @pytest.mark.parametrize("words", [(), ("--consent=note",)], ids=["nothing typed", "another name typed"])
    @pytest.mark.usefixtures("notes")
    def test_without_its_name_typed_nothing_is_destroyed(self, rig: Rig, words: tuple[str, ...]):
        said = herder(rig, "destroy", "notes", *words, "--json")
        assert (said.code, said.error["error"]) == (5, "refused")
        assert rig.show("notes")["state"] == "available"

    def test_the_api_wants_the_name_too(self, rig: Rig, notes: Facts):
        with pytest.raises(Exception, match="not the name"):
            rig.api("DELETE", "/v1/services/notes", {"consent": ""})
        assert query(notes, "SELECT 1") == [(1,)]

    def test_its_data_rests_in_the_trash_and_its_name_but_no_address_is_free_again(self, rig: Rig):
        before = rig.create("postgres", "brief", "dev")
        engines = pids(rig, "brief")
        query(before, "CREATE TABLE kept AS SELECT 1 AS one")
        assert herder(rig, "destroy", "brief", "--consent=brief", "--json").code == 0
        assert rig.wait("brief", "retired")["state"] == "retired"
        assert not any(runs(pid) for pid in engines.values())
        assert "brief" not in [service["name"] for service in rig.services()]
        until(
            lambda: [path for path in (rig.path / "trash").rglob("PG_VERSION") if "brief" in str(path)],
            "its files are in the trash",
        )
        again = rig.create("postgres", "brief", "dev")
        used = {member["address"] for service in rig.services() for member in service["members"]}
        assert again["members"][0]["address"] != before["members"][0]["address"]
        assert before["members"][0]["address"] not in used
        assert before["url"] != again["url"]


class TestToldWhy:
    """At 3 am: what is not well, and why, down to the engine's own words."""

    def test_explain_goes_down_to_the_line_of_the_engines_log(self, rig: Rig, notes: Facts):
        since = max(event["seq"] for event in rig.events(limit=1))
        faults.kill_engine(pids(rig, "notes")["notes-0"])
        until(lambda: any(e["seq"] > since and e["event"] == "restored" for e in rig.events("notes")), "it healed")
        until_well(rig, "notes")
        told = herder(rig, "explain", "notes", "--json").json
        assert told["state"] == "available"
        raw = [link["text"] for link in told["chain"] if link["source"] == "log of notes-0"]
        assert raw, told
        folder = rig.path / "servers" / notes["members"][0]["server"]
        logs = [path.read_text(errors="replace") for path in folder.rglob("*.log*") if path.is_file()]
        line = raw[0].strip()
        assert any(line in log for log in logs), f"not a line of its log: {line}"
        assert "notes-0" in herder(rig, "explain", "notes").out

    def test_status_says_what_is_not_well_since_when_and_what_is_waited_for(self, rig: Rig, notes: Facts):
        server = rig.server_of(rig.member("notes", "primary"))
        faults.freeze(server)
        try:
            until(lambda: rig.show("notes")["state"] != "available", "a frozen host is noticed")
            said = herder(rig, "status", "--json").json
        finally:
            faults.thaw(server)
        ill = {unit["name"]: unit for unit in said["not_well"]}
        assert {"notes", "notes-0", server["id"]} <= ill.keys()
        assert all(unit["since_ms"] and unit["waits_for"] for unit in ill.values()), ill
        assert ill[server["id"]]["doing"]
        until_well(rig, "notes")
        assert not [unit for unit in rig.status()["not_well"] if unit["name"] in ill]
