"""What people see: stable fields, made from the world and the board."""

from __future__ import annotations

import pytest

from herder.engine.world import World
from herder.fleet import views
from herder.fleet.explain import ENOUGH, explain
from herder.ports.driver import Position, Reading, Role
from herder.ports.store import HistoryRow
from herder.ports.wire import FRAME_VERSION, MemberPulse, Pulse
from herder.pulse.board import Board
from herder.pulse.detector import Limits
from tests.machines import sample

MEMBER_FIELDS = {
    "id", "role", "state", "server", "address", "port", "pid", "data_dir", "timeline", "lsn", "lag_bytes", "voter",
}  # fmt: skip
SERVICE_FIELDS = {"name", "kind", "plan", "state", "url", "read_url", "term", "members"}


def reading(role: Role, lsn: int, **changes: object) -> Reading:
    return Reading(alive=True, role=role, position=Position(2, lsn), pid=70, **changes)


def board_of(**readings: Reading) -> Board:
    """Member name with '_' -> its reading, each on its server."""
    board = Board(1.0, Limits(1.5, 8.0))
    for slot in range(3):
        name = f"orders-{slot}"
        server = f"srv-{sample.SERVERS[slot]}"
        board.expect(server, 1, 100.0)
        told = readings.get(name.replace("-", "_"))
        if told is not None:
            pulse = MemberPulse(member=name, service="orders", term=1, reading=told)
            frame = Pulse(
                version=FRAME_VERSION, server=server, incarnation=1, agent_pid=71, life="a", seq=1, sent_ms=0,
                paused_ms=0, rss_kb=4000, disk_free=9, members=(pulse,),
            )  # fmt: skip
            assert board.fold(frame, 101.0)
    return board


BOARD = board_of(
    orders_0=reading(Role.PRIMARY, 0x3000148), orders_1=reading(Role.STANDBY, 0x3000000, received=0x3000100)
)


def show(world: World, board: Board = BOARD) -> dict:
    return views.service_view(world, board, world.get(1))


def test_a_service_is_shown_with_every_field_that_was_promised():
    shown = show(sample.well())
    assert shown.keys() >= SERVICE_FIELDS
    assert all(member.keys() >= MEMBER_FIELDS for member in shown["members"])
    assert (shown["name"], shown["plan"], shown["state"], shown["term"]) == ("orders", "premium", "available", 1)
    assert shown["voters"] == ["orders-1", "orders-2"]


def test_positions_are_told_as_the_engine_writes_them():
    first, second, third = show(sample.well())["members"]
    assert (first["lsn"], first["timeline"], first["pid"], first["lag_bytes"]) == ("0/3000148", 2, 70, None)
    assert (second["lsn"], second["lag_bytes"]) == ("0/3000000", 0x48)
    assert (third["lsn"], third["timeline"], third["pid"], third["lag_bytes"]) == (None, None, 0, None)
    valkey = show(sample.small("valkey"))["members"][0]
    assert valkey["lsn"] == str(0x3000148)


def test_one_url_names_every_slot_and_the_client_finds_the_primary():
    shown = show(sample.well())
    hosts = "app:p@10.0.0.2:5432,10.0.0.3:5432,10.0.0.4:5432/app"
    assert shown["url"] == f"postgresql://{hosts}?target_session_attrs=read-write"
    assert shown["read_url"] == f"postgresql://{hosts}?target_session_attrs=prefer-standby"


def test_the_url_stays_when_the_primary_moves():
    before = show(sample.well())["url"]
    assert show(sample.well(primary=3, term=2))["url"] == before


def test_a_password_cannot_break_the_url():
    world = sample.well(password="a@b/c")
    assert "app:a%40b/c@" in show(world)["url"] or "app:a%40b%2Fc@" in show(world)["url"]


def test_valkeys_url_is_that_of_its_present_primary():
    world = sample.small("valkey", port=6379)
    assert show(world)["url"] == "valkey://app:p@10.0.0.2:5432/0"
    assert show(world)["read_url"] == "valkey://app:p@10.0.0.3:5432/0"
    sample.change(world, 3, state="unavailable")
    assert show(world)["read_url"] == show(world)["url"]


def test_what_holds_a_service_is_shown():
    world = sample.well(playbook=8)
    sample.put(world, 8, "failover", "pledging", **sample.playbook_facts())
    assert show(world)["doing"] == "failover: pledging"
    sample.change(world, 8, state="done")
    assert show(world)["doing"] == ""


def test_servers_and_agents_are_shown_as_heard():
    world = sample.well()
    server = views.server_view(BOARD, world.get(5))
    assert server.keys() >= {"id", "incarnation", "address", "namespace", "agent_pid", "state"}
    assert (server["id"], server["agent_pid"], server["incarnation"]) == ("srv-5", 71, 1)
    assert views.server_view(Board(1.0, Limits(1.5, 8.0)), world.get(5))["agent_pid"] == 0
    agent = views.agent_view(BOARD, world.get(5), 103.0)
    assert (agent["pid"], agent["rss_kb"], agent["silent_s"], agent["frames"]) == (71, 4000, 2.0, 1)


# ---- status


def status(world: World, us: str = "") -> dict:
    return views.status_view(world, BOARD, {"seq": 1}, us)


def test_where_all_is_well_status_is_empty():
    told = status(sample.well())
    assert (told["not_well"], told["pages"], told["us"]) == ([], [], "")
    assert told["state_counts"]["member"] == {"available": 3}


def test_status_says_what_is_not_well_and_what_is_done_about_it():
    world = sample.well(playbook=8)
    sample.put(world, 8, "failover", "pledging", **sample.playbook_facts())
    for ident in (1, 2):
        sample.change(world, ident, state="unavailable")
    world.get(2).data["evidence"] = {"exit_line": "PANIC: no space"}
    sample.change(world, 5, state="uncertain")
    service, member, server = status(world)["not_well"]
    assert (service["name"], service["doing"]) == ("orders", "failover: pledging")
    assert service["waits_for"] == "standbys promise not to stream from the old primary and tell how far they reach"
    assert (member["why"], member["waits_for"]) == ("PANIC: no space", "srv-5, which is uncertain")
    assert (server["name"], server["doing"]) == ("srv-5", "watch server")


def test_what_is_gone_is_not_unwell():
    world = sample.well()
    for machine in world.machines.values():
        sample.change(world, machine.id, state="terminated" if machine.kind == "server" else "retired")
    assert status(world)["not_well"] == []


def test_open_pages_are_shown():
    world = sample.well()
    page = {"subject": 1, "reason": "service_down", "text": "down for two minutes", "times": 2, "name": "page-8"}
    sample.put(world, 8, "page", "open", **page)
    sample.put(world, 9, "page", "resolved", **(page | {"name": "page-9"}))
    (told,) = status(world, "it is us")["pages"]
    assert (told["id"], told["subject"], told["reason"], told["times"]) == ("page-8", "orders", "service_down", 2)


# ---- explain


def row(seq: int, kind: str, name: str, move: str, why: str = "") -> HistoryRow:
    source, event, target = move.split()
    return HistoryRow(
        seq=seq, ordinal=0, at_ms=seq * 10, machine=1, kind=kind, name=name, service="orders", source=source,
        event=event, target=target, why=why, actor="pulse",
    )  # fmt: skip


HISTORY = [
    row(1, "service", "orders", "installing provisioned available"),
    row(2, "member", "orders-0", "available exited unavailable", "no process of it is left"),
    row(3, "service", "orders", "available primary_unavailable unavailable", "orders-0: no process of it is left"),
    row(4, "failover", "orders/failover-8", "absent create pledging"),
    row(5, "failover", "orders/failover-8", "promoting overdue promoting"),
]


def test_explain_goes_from_the_state_down_to_the_engines_own_line():
    world = sample.well()
    for ident in (1, 2):
        sample.change(world, ident, state="unavailable")
    world.get(2).data.update(evidence={"exit_line": "PANIC: could not write"}, since_ill_ms=20)
    told = explain(world, world.get(1), HISTORY)
    assert [link["source"] for link in told["chain"]] == [
        "failover orders/failover-8", "service orders", "member orders-0", "log of orders-0",
    ]  # fmt: skip
    assert told["chain"][-1]["text"] == "PANIC: could not write"
    assert told["chain"][2]["text"] == "available -> unavailable (exited): no process of it is left"


@pytest.mark.parametrize("count", [0, 1, 200])
def test_explain_ends(count: int):
    history = [row(seq, "service", "orders", "unavailable overdue unavailable") for seq in range(count)]
    world = sample.well()
    sample.change(world, 1, state="unavailable")
    assert len(explain(world, world.get(1), history)["chain"]) == min(count, ENOUGH)


def test_a_service_without_its_data_says_so_and_what_a_person_may_do():
    world = sample.small("postgres", "dev", 1, no_data=2)
    sample.change(world, 1, state="unavailable")
    (row,) = [row for row in views.not_well(world) if row["kind"] == "service"]
    assert row["waits_for"] == "a person: its data is gone (herder explain orders)"
    told = explain(world, world.get(1), [])["chain"][0]["text"]
    assert "the data of orders-0 is gone from srv-5" in told
    assert "`herder restart orders`" in told
    assert "`herder destroy orders`" in told
