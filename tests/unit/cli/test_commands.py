"""Each command: what it prints for a person, what for a program, and how it exits."""

import pytest

from herder.cli.urls import split_password
from herder.model.errors import Conflict, InvalidInput, NotFound, Refused, TimedOut, Unreachable
from tests.unit.api.standin import CHAIN, MOVE, NOT_WELL, URL

QUESTIONS = (
    ("list",), ("show", "orders"), ("url", "orders"), ("servers",), ("agents",), ("status",), ("events",),
    ("explain", "orders"), ("pages",), ("wait", "orders"), ("switchover", "orders"), ("restart", "orders"),
    ("allow-failover", "orders"),
)  # fmt: skip


@pytest.mark.parametrize("words", QUESTIONS)
def test_every_question_is_answered_for_people_and_for_programs(herder, plane, words):
    told, structured = herder(*words), herder(*words, "--json")
    assert (told.code, structured.code) == (0, 0)
    assert told.out.strip()
    assert isinstance(structured.json, dict | list)


@pytest.mark.parametrize("words", QUESTIONS)
def test_without_a_control_plane_the_hint_is_to_start_one(herder, words):
    said = herder(*words)
    assert said.code == Unreachable.exit_code
    assert said.err.startswith("error: no control plane runs in ")
    assert "herder up" in said.err


def test_an_error_is_an_object_on_stderr_for_programs(herder, plane):
    said = herder("show", "nobody", "--json")
    assert said.code == NotFound.exit_code
    assert said.out == ""
    assert said.err == '{"error": "not_found", "message": "there is no service \'nobody\'", "hint": "herder list"}\n'


def test_show_keeps_the_password_to_itself_and_url_does_not(herder, plane):
    assert "s3cret" not in herder("show", "orders").out
    assert herder("url", "orders").out == URL + "\n"
    assert herder("url", "orders", "--read").out.strip().endswith("prefer-standby")
    assert herder("show", "orders", "--json").json["url"] == URL


def test_show_names_every_member_and_the_primary_first(herder, plane):
    out = herder("show", "orders").out
    rows = [line.split()[:2] for line in out.splitlines()][-3:]
    assert rows == [["orders-1", "primary"], ["orders-2", "standby"], ["orders-3", "standby"]]
    assert "0/3000148" in out


def test_create_returns_at_once(herder, plane):
    said = herder("create", "postgres", "bills", "--plan", "dev")
    assert said.code == 0
    assert "bills is installing" in said.out
    assert ("create", "postgres", "bills", "dev", 0) in plane.asked


def test_create_and_wait_prints_the_url_alone_on_stdout(herder, plane, monkeypatch):
    async def show_available(name, state, timeout_s):
        return plane.known[name] | {"state": state}

    monkeypatch.setattr(plane, "wait", show_available)
    said = herder("create", "postgres", "bills", "--wait")
    assert said.out == URL + "\n"
    assert "bills is available after" in said.err


def test_create_that_takes_too_long_exits_with_where_it_stands(herder, plane):
    said = herder("create", "postgres", "bills", "--wait", "--timeout", "0")
    assert said.code == TimedOut.exit_code
    assert "it is installing" in said.err


@pytest.mark.parametrize(
    "words", [("oracle", "bills"), ("postgres", "Bills"), ("postgres", "bills", "--plan", "gold"), ("postgres", "")]
)
def test_create_refuses_what_cannot_be_before_it_asks(herder, words):
    assert herder("create", *words).code == InvalidInput.exit_code


def test_create_of_a_taken_name_is_a_conflict(herder, plane):
    assert herder("create", "postgres", "orders").code == Conflict.exit_code


def test_destroy_wants_the_name_and_nothing_else_will_do(herder, plane):
    assert herder("destroy", "orders").code == Refused.exit_code
    assert herder("destroy", "orders", "--consent", "order").code == Refused.exit_code
    assert herder("destroy", "orders", "--yes").code == 2
    assert plane.known["orders"]["state"] == "available"
    assert herder("destroy", "orders", "--consent", "orders").code == 0
    assert plane.known["orders"]["state"] == "retiring"


def test_status_says_that_everything_is_well(herder, plane, monkeypatch):
    async def nobody_was_told():
        return [page | {"state": "resolved"} for page in []]

    monkeypatch.setattr(plane, "pages", nobody_was_told)
    assert "everything is well" in herder("status").out


def test_status_says_what_is_not_well_and_what_is_done(herder, plane):
    plane.not_well.append(NOT_WELL)
    out = herder("status").out
    for word in (
        "1 thing is not well",
        "orders",
        "unavailable",
        NOT_WELL["doing"],
        NOT_WELL["waits_for"],
        NOT_WELL["why"],
    ):
        assert word in out


def test_events_tell_the_move_in_words(herder, plane):
    out = herder("events", "orders", "-n", "5").out
    assert "available → unavailable" in out
    assert MOVE["why"] in out
    assert ("events", "orders", 5) in plane.asked


def test_explain_goes_one_step_further_in_with_each_cause(herder, plane):
    lines = herder("explain", "orders").out.splitlines()
    assert [line.index("└─") for line in lines[1:]] == [0, 2]
    assert CHAIN[-1]["text"] in lines[-1]


def test_watch_url_prints_a_line_for_each_change(herder, plane, monkeypatch):
    async def two(name):
        yield {"url": "a", "read_url": "", "primary": "orders-1", "at_ms": 1}
        yield {"url": "b", "read_url": "", "primary": "orders-2", "at_ms": 2}

    monkeypatch.setattr(plane, "watch_url", two)
    assert herder("watch-url", "orders").out == "a\nb\n"


def test_psql_gets_the_url_without_its_password(herder, plane, monkeypatch, tmp_path):
    program = tmp_path / "psql"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PGPASSWORD", "")
    ran = []
    monkeypatch.setattr("os.execv", lambda *words: ran.append(words))
    herder("psql", "orders", "--", "-c", "select 1")
    assert "s3cret" not in str(ran)
    assert ran[0][1][2:] == ["-c", "select 1"]


@pytest.mark.parametrize(
    ("url", "bare", "password"),
    [
        ("postgresql://u:p%40x@h1:1,h2:2/d?a=b", "postgresql://u@h1:1,h2:2/d?a=b", "p@x"),
        ("postgresql://u@h/d", "postgresql://u@h/d", ""),
        ("nonsense", "nonsense", ""),
    ],
)
def test_a_password_is_split_off_a_url_of_many_hosts(url, bare, password):
    assert split_password(url) == (bare, password)


def test_bench_refuses_what_it_does_not_measure(herder):
    assert herder("bench", "failover", "--fault", "meteor").code == InvalidInput.exit_code


def test_config_needs_no_control_plane(herder, monkeypatch):
    monkeypatch.setenv("HERDER_LEASE_S", "7")
    rows = {row["name"]: row for row in herder("config", "--listen", "127.0.0.1:1", "--no-fencing", "--json").json}
    assert rows["lease_s"] == {"name": "lease_s", "value": 7.0, "source": "environment HERDER_LEASE_S"}
    assert rows["listen"]["source"] == "flag --listen"
    assert rows["fencing"]["value"] is False
    assert "7.0" in herder("config").out
