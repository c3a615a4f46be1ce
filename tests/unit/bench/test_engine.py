"""The engine's benchmark: what it says of what it measured, and that its hand-written limit does the same step."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from herder.bench import engine, engine_peer
from herder.bench.engine_fleet import BLOCK, EVENTS, MEMBER
from herder.bench.engine_ground import Ground, child
from herder.bench.engine_hand import ByHand
from herder.bench.engine_peer import Peer
from herder.engine.bulk import Bulk, Cohort, decide_bulk
from herder.engine.due import due_effects
from herder.engine.record import FORMAT, Body, Record, as_record, seal
from herder.engine.world import World
from herder.model.errors import HerderError

PROMISED = {
    "transitions_per_s", "projection_rows_per_s", "idle_commit_p99_ms", "cold_start_s", "rss_mb", "store_bytes_per_machine",
    "growth_1m_over_500k", "bytes_per_machine_memory", "bytes_per_move_log", "handwritten_per_s", "ratio_to_handwritten",
}  # fmt: skip


def run(machines: int, scale: float = 1.0) -> dict[str, Any]:
    return {
        "machines": machines, "step_s": [0.8 * scale, 0.9 * scale, 1.0 * scale], "by_hand_s": [0.5, 0.6, 0.6],
        "projected_s": [10 * scale] * 3, "idle_ms": [float(n) for n in range(1, 201)], "flood_ms": [40.0], "idle_by_hand_ms": [0.5, 0.9],
        "peak_rss_mb": 300.0, "bytes_per_machine_memory": 46.0, "bytes_per_move_log": 25.0, "store_bytes_per_machine": 260.0,
        "adopt_s": 1.0, "adopt_projected_s": 12.0,
    }  # fmt: skip


def found(peer: Peer) -> engine.Found:
    cold = {"cold_start_s": 2.0, "imported_s": 0.7, "opened_s": 1.9, "peak_rss_mb": 200.0, "rss_mb": 150.0}
    return engine.Found(run(1_000_000), run(500_000, 0.4), [cold], peer)


def test_every_promised_figure_is_there_with_the_limit_and_the_peer_beside_it():
    measured = found(Peer(250.0, "DBOS", {"many": 250.0}))
    shown = engine.metrics(measured)
    told = json.loads(json.dumps(engine.as_object({}, measured, shown)))
    by_name = {each["name"]: each for each in told["metrics"]}
    assert by_name.keys() >= PROMISED
    assert told["transitions_per_s"] == by_name["transitions_per_s"]["value"] == pytest.approx(1e6 / 0.9, rel=1e-5)
    assert by_name["transitions_per_s"]["limit"] == pytest.approx(1e6 / 0.6, rel=1e-5)
    assert by_name["transitions_per_s"]["ratio_to_peer"] == pytest.approx(1e6 / 0.9 / 250, rel=1e-3)
    assert (told["growth_1m_over_500k"], told["idle_commit_p99_ms"], told["rss_mb"]) == (2.5, 198.0, 300.0)
    assert told["peer"] == {"durable_steps_per_s": 250.0, "many": 250.0}


def test_what_misses_its_goal_is_named():
    measured = found(Peer(None, "", {}))
    assert engine.missed(engine.metrics(measured)) == [
        "idle_commit_p99_ms", "store_bytes_per_machine", "growth_1m_over_500k",
    ]  # fmt: skip


def test_a_peer_that_cannot_be_had_is_null_with_the_reason():
    measured = found(Peer(None, "no index", {}))
    shown = engine.metrics(measured)
    told = engine.as_object({}, measured, shown)
    assert (told["peer"], told["why"]) == (None, "no index")
    assert shown[0].ratio_to_peer is None


def test_a_peer_whose_requirements_are_not_here_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine_peer, "REQUIREMENTS", tmp_path / "bench.txt")
    peer = engine_peer.measure(Ground(tmp_path, {"host": "/nowhere", "port": 1, "user": "herder"}))
    assert peer.steps_per_s is None
    assert "bench.txt" in peer.why


@pytest.mark.parametrize(("count", "percent", "expected"), [(200, 99, 198.0), (200, 50, 100.0), (1, 99, 1.0)])
def test_a_percentile_is_one_of_the_values(count: int, percent: float, expected: float):
    assert engine.percentile([float(n) for n in range(1, count + 1)], percent) == expected


def test_a_process_that_fails_tells_its_last_words():
    with pytest.raises(HerderError, match="no such table"):
        child(["-c", "raise SystemExit('no such table')"], 10.0)


def test_a_process_is_told_when_it_was_started():
    before = time.monotonic()
    answer = child([sys.executable, "-c", "print(input())"], 10.0, {"machines": 3})
    assert (answer["machines"], before <= answer["spawned"] <= time.monotonic()) == (3, True)


def test_everybody_takes_every_step_of_the_round_and_no_effect_follows():
    world = World()
    apply(world, Cohort(2, BLOCK))
    first = world.next_id
    apply(world, Cohort(100, (MEMBER,)))
    ids = np.arange(first, first + 100, dtype=np.uint32)
    for event in (*EVENTS, EVENTS[-1]):
        record = apply(world, Bulk("member", event, ids))
        assert len(record.columns) == 100
        assert [len(span.machines) for span in record.spans] == [100]
        assert due_effects(world) == []


def test_the_hand_written_step_writes_the_same_number_of_bytes_and_moves_everybody():
    by_hand = ByHand(1000)
    moves = by_hand._moves(by_hand.ids, 1)
    by_hand._apply(by_hand.ids, moves, 1)
    assert len(moves.tobytes()) == 24 * 1000
    assert set(by_hand.state.tolist()) == {2}
    assert set(by_hand.version.tolist()) == {2}


def apply(world: World, item: Bulk | Cohort) -> Record:
    decided = decide_bulk(world, item, 1_000_000)
    assert decided.singles == []
    body = Body(FORMAT, "moves", "", decided.moves.tobytes(), [], decided.spans, decided.births)
    record = as_record(seal(0, world.seq + 1, 1, 1_000_000, bytes(32), body), body)
    world.apply(record)
    return record
