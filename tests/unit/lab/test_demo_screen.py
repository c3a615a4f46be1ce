"""The demo's picture and its table: they fit, they do not jump, and nothing is ever shown as passed that was not done."""

from io import StringIO

import pytest
from rich.console import Console

from herder.lab.screen import (
    FAILED,
    HEALED,
    NOT_POSSIBLE,
    UNDER_WAY,
    Closing,
    Ending,
    Frame,
    Lines,
    Moving,
    Picture,
    Result,
    Screen,
    Writes,
    screen_for,
)


def member(ident, role, state="available", *, voter=False):
    return {"id": ident, "role": role, "state": state, "doing": "", "voter": voter, "server": "srv-1"}


def service(name="orders", state="available", count=3, **changed):
    members = [member(f"{name}-{slot}", "standby" if slot else "primary", voter=bool(slot)) for slot in range(count)]
    return {"name": name, "engine": "postgres", "plan": "premium", "state": state, "doing": "", "term": 3,
            "members": members} | changed  # fmt: skip


def event(number, **changed):
    return {"seq": number, "at_ms": 1_000 * number, "kind": "member", "name": f"orders-{number}", "source": "available",
            "target": "uncertain", "why": "a standby lost its stream from it", "event": "suspected"} | changed  # fmt: skip


def frame(**changed):
    services = [service(), service("reports", count=2), service("carts", count=2)]
    writes = {name: Writes((100.0,) * 40, 0.004, 900) for name in ("orders", "reports", "carts")}
    results = [Result("engine killed", "orders", "premium") for _ in range(8)]
    facts = {"elapsed_s": 75.0, "sentence": "The cable is pulled.", "services": services, "writes": writes,
             "events": [event(number) for number in range(12)], "results": results} | changed  # fmt: skip
    return Frame(**facts)


def printed(thing, width=120, height=40):
    console = Console(file=StringIO(), width=width, height=height, color_system=None)
    console.print(thing)
    return console.file.getvalue().splitlines()


def ending(results, bad=()):
    totals = {"acknowledged": 22_238, "premium": {"lost": 0, "doubled": 0}}
    return Ending(results, totals, 64.2, ["a note"], bad)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (120, 40), (200, 60)])
def test_the_picture_fits_the_terminal(width, height):
    lines = printed(Picture(frame()), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("height", [24, 40])
def test_the_picture_keeps_its_height_while_things_happen(height):
    long = "A sentence that is long enough to need a second line on a terminal of eighty columns, as some of them are."
    ill = [
        service(state="unavailable", doing="failover: pledging"),
        service("reports", count=2),
        service("carts", count=2),
    ]
    calm, busy = frame(events=[]), frame(sentence=long, services=ill, control_plane=False)
    assert len(printed(Picture(calm), 80, height)) == len(printed(Picture(busy), 80, height))


def test_the_picture_says_what_herder_does_and_that_a_dead_control_plane_is_not_needed():
    busy = frame(services=[service(state="unavailable", doing="failover: pledging")])
    assert any("failover: pledging" in line for line in printed(Picture(busy)))
    dead = "\n".join(printed(Picture(frame(control_plane=False))))
    assert "control plane ● killed" in dead
    assert "serving by itself" in dead


def test_a_slice_without_a_write_is_a_gap():
    writes = {"orders": Writes((*(100.0,) * 5, 0.0, 0.0, *(100.0,) * 5), 0.004, 900)}
    line = next(line for line in printed(Picture(frame(writes=writes))) if line.startswith("orders "))
    assert "▆__▆" in line


def test_what_was_not_possible_is_not_shown_as_passed():
    result = Result("host silent", "orders", "premium", NOT_POSSIBLE, what="servers share the host's network here")
    for thing in (Picture(frame(results=[result])), Closing(ending([result]))):
        line = next(line for line in printed(thing) if line.startswith(("host silent", "- host silent")))
        assert NOT_POSSIBLE in line
        assert "✓" not in line
        assert " 0 " not in line


def test_what_was_not_reached_says_so():
    assert "not reached" in "\n".join(printed(Closing(ending([Result("switchover", "orders", "premium")]))))


def test_the_table_has_one_row_a_fault_with_what_herder_did():
    result = Result("engine killed", "orders", "premium", HEALED, "pledges of 2 voters", 0.274, None, 1672, 0, 0,
                    "promoted orders-1 at term 2")  # fmt: skip
    narrow = printed(Closing(ending([result])), 120)
    row = next(line for line in narrow if line.startswith("engine killed"))
    assert row.split() == ["engine", "killed", "orders", "premium", "pledges", "of", "2", "voters", "0.27", "s", "-",
                           "1", "672", "0", "0"]  # fmt: skip
    assert "  promoted orders-1 at term 2" in narrow
    wide = printed(Closing(ending([result])), 240)
    assert any(line.startswith("engine killed") and line.endswith("promoted orders-1 at term 2") for line in wide)


def test_the_table_fits_eighty_columns():
    result = Result("control plane killed", "all three", "", HEALED, "pledges of 2 voters", 0.274, None, 1672, 0, 0)
    lines = printed(Closing(ending([result])), 80)
    assert any(line.split()[-4:] == ["1", "672", "0", "0"] and len(line) <= 80 for line in lines)


def test_the_verdict_stands_only_where_nothing_went_wrong():
    fine, bad = printed(Closing(ending([]))), printed(Closing(ending([], ["orders is not well after 45 s"])))
    assert any("nothing left running" in line for line in fine)
    assert not any("nothing left running" in line for line in bad)
    assert any("✗ orders is not well" in line for line in bad)


def test_a_pipe_gets_lines_with_times_and_no_control_codes():
    console = Console(file=StringIO(), width=200)
    lines = Lines(console)
    lines.say("The cable [of srv-5] is pulled.")
    lines.show(frame(services=[service(state="uncertain")], events=[event(1, name="orders", why="it is silent")]))
    lines.show(frame(services=[service(state="uncertain")]))
    lines.over(Result("host silent", "orders", "premium", FAILED, gap_s=3.0, what="nothing"))
    text = console.file.getvalue()
    assert "\x1b" not in text
    assert "▸ The cable [of srv-5] is pulled." in text
    assert text.count("orders is uncertain: it is silent") == 1
    assert "✗ host silent, orders: 3.00 s without writes; nothing" in text


def test_the_screen_is_chosen_by_where_it_speaks():
    terminal = Console(file=StringIO(), force_terminal=True)
    assert isinstance(screen_for(terminal, as_json=False), Moving)
    assert isinstance(screen_for(Console(file=StringIO()), as_json=False), Lines)
    assert type(screen_for(terminal, as_json=True)) is Screen


def test_a_fault_under_way_says_so():
    results = [Result("host killed", "orders", "premium", UNDER_WAY)]
    assert any(
        line.startswith("▸ host killed") and "under way" in line for line in printed(Picture(frame(results=results)))
    )


def test_json_has_the_fields_of_the_table():
    facts = Result("host silent", "orders", "premium", HEALED, gap_s=3.0216).facts()
    assert {"fault", "service", "plan", "fence", "gap_s", "server_gap_s", "acknowledged", "lost", "doubled",
            "what"} <= facts.keys()  # fmt: skip
    assert facts["gap_s"] == 3.022
