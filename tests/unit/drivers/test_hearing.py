"""What a standby heard of its upstream's log is remembered over the loss of its stream, and never made less than it was."""

from __future__ import annotations

from herder.drivers.postgres.hearing import LOOKS, Hearing
from herder.ports.driver import Heard, Position

HERE = "/srv/a"
MB = 1_000_000


class Told:
    """A hearing with a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.hearing = Hearing(lambda: self.now_s)

    def look(self, lsn: int, *, after_s: float = 1.0, age_s: float = 0.0, timeline: int = 1) -> None:
        self.now_s += after_s
        self.hearing.take(HERE, Position(timeline, lsn), age_s)

    def heard(self, later_s: float = 0.0) -> Heard | None:
        self.now_s += later_s
        return self.hearing.told(HERE)


def test_it_tells_the_end_of_the_log_its_age_and_the_fastest_growth():
    told = Told()
    for lsn in (0, 5 * MB, 6 * MB):
        told.look(lsn)
    assert told.heard(later_s=15.0) == Heard(Position(1, 6 * MB), 15.0, 5 * MB)


def test_one_look_says_nothing_of_a_speed_so_nothing_is_told():
    told = Told()
    told.look(MB)
    assert told.heard() is None
    assert Hearing().told(HERE) is None


def test_a_message_counts_from_when_it_was_said_and_not_from_when_it_was_seen():
    told = Told()
    told.look(MB)
    told.look(MB, age_s=0.9)
    told.look(MB, age_s=1.9)
    found = told.heard(later_s=2.0)
    assert found is not None
    assert round(found.age_s, 3) == 3.9


def test_a_sender_that_lags_tells_less_in_a_keepalive_and_what_was_told_before_stays():
    told = Told()
    for lsn in (0, 9 * MB, 3 * MB):
        told.look(lsn)
    found = told.heard()
    assert found is not None
    assert found.position == Position(1, 9 * MB)


def test_a_burst_is_forgotten_after_a_while():
    told = Told()
    told.look(0)
    told.look(50 * MB)
    for n in range(LOOKS):
        told.look(50 * MB + n)
    found = told.heard()
    assert found is not None
    assert found.bytes_per_s == 1.0


def test_another_timeline_and_another_upstream_begin_anew():
    told = Told()
    told.look(0)
    told.look(MB)
    told.look(2 * MB, timeline=2)
    assert told.heard() is None
    told.look(3 * MB, timeline=2)
    assert told.heard() is not None
    told.hearing.forget(HERE)
    assert told.heard() is None
