"""What the terminal shows while a drill runs, and when it is over."""

import io

import pytest
from rich.console import Console

from herder.sim.drill import reading
from herder.sim.drill.live import Picture, Screen, line
from herder.sim.drill.summary import summary
from herder.sim.drill.types import Progress
from tests.unit.sim.drill import sample

SCENARIO = reading.read("s3-2017")


def progress(**changes):
    facts = {
        "virtual_ms": SCENARIO.start_ms + 6_000_000, "wall_s": 51.2, "services": 1_000_000,
        "states": {"service": {"available": 999_930, "unavailable": 45, "uncertain": 25}},
        "unavailable": {"postgres dev": 45}, "backlog": {"archives": 850_000}, "remedies": {"failover": 2},
        "done": {"failover": 20}, "pages": 3, "moves": 1_800_000, "moves_per_s": 24_000.0, "behind": 90_000,
        "sentence": "Writes to the object store began to fail.",
    }  # fmt: skip
    return Progress(**(facts | changes))


def drawn(picture, width=110):
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(picture)
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 110, 200])
def test_the_picture_has_both_clocks_states_queues_and_speed(width):
    text = drawn(Picture(SCENARIO, progress()), max(width, 72))
    for words in ("19:10 UTC", "51 s of wall time", "999,930", "850,000", "pages 3", "24,000"):
        assert words in text
    assert max(len(row) for row in text.splitlines()) <= max(width, 72)


def test_a_few_of_a_million_can_be_seen():
    bar = next(row for row in drawn(Picture(SCENARIO, progress())).splitlines() if row.startswith("service"))
    assert "▒" in bar
    assert "▓" in bar


def test_the_picture_keeps_its_height():
    busy = drawn(Picture(SCENARIO, progress(backlog={f"queue {n}": n + 1 for n in range(30)})))
    calm = drawn(Picture(SCENARIO, progress(backlog={}, remedies={}, done={}, forecast_ms=1, sentence="")))
    assert len(busy.splitlines()) == len(calm.splitlines())


def test_a_pipe_gets_a_line_when_something_happens_and_now_and_then():
    out = io.StringIO()
    with Screen(SCENARIO, console=Console(file=out, width=240)) as screen:
        for minute in range(30):
            screen.show(progress(virtual_ms=SCENARIO.start_ms + minute * 60_000, sentence="a" if minute < 15 else "b"))
    lines = out.getvalue().splitlines()
    assert len(lines) == 4  # at the start, ten minutes later, when "b" happened, and ten minutes after that
    assert lines[0].startswith("17:30 UTC")


def test_json_gets_nothing():
    out = io.StringIO()
    with Screen(SCENARIO, quiet=True, console=Console(file=out)) as screen:
        screen.show(progress())
    assert out.getvalue() == ""


def test_a_line_says_how_many_take_no_writes():
    assert "45 services take no writes" in line(progress())


def test_the_summary_says_what_a_person_asks():
    text = drawn(summary(sample.result()))
    for words in ("17 min after 21:54 UTC", "archive drain", "19.8 person-years by hand", "✓ lost_premium at most 0"):
        assert words in text


def test_the_summary_of_a_bad_day_says_which_promise_was_broken():
    assert "✗ lost_premium at most 0: 2" in drawn(summary(sample.result(lost_premium=2)))
