"""What `herder bench pulse` sends and measures, in the small."""

from __future__ import annotations

from herder.bench.metrics import metric
from herder.bench.pulse import _board, _fold, _folds, _scan, curve
from herder.bench.pulse_sender import MEMBERS_FROM, Frames
from herder.pulse.fleet_frame import Rows, decode


def test_every_beat_is_the_next_one_of_the_same_members():
    frames = Frames(1, 1, 100, 10, b"PUB x 370\r\n", b"\r\n")
    for beat in (1, 2):
        frames.beat()
        last = decode(frames.bytes[-1].tobytes()[11:-2])
        assert isinstance(last, Rows)
        assert last.header.seq == 10 * beat
        assert set(last.seq.tolist()) == {beat}
        assert set(last.lsn.tolist()) == {100 * beat}
        assert last.server.tolist() == [*range(91, 101)]
        assert (last.member - last.server == MEMBERS_FROM).all()


def test_what_is_folded_was_not_refused():
    first, again = _fold(_board(2000), 2000, 2, 100)
    assert first > 0
    assert len(again) == 2


def test_the_names_are_those_that_were_promised():
    found = [*_folds(3000, lambda line: None), _scan(60_000, lambda line: None)]
    assert {"fold_per_s", "scan_ms"} <= {each.name for each in found}
    assert all(each.limit for each in found if each.name in ("fold_per_s", "scan_ms"))


def test_the_curve_is_what_was_measured_through_nats():
    assert curve([metric("nats_curve.100", "members/s", [5.0]), metric("scan_ms", "ms", [1.0])]) == {"100": 5.0}
