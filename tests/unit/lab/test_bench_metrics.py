"""What the benchmarks print: the object's fields, medians, ratios, and what is not possible here."""

from __future__ import annotations

from herder.bench import is_broken
from herder.bench.failover import NOT_HERE, Run, _metrics, fence_of
from herder.bench.metrics import ANCHORS, as_object, metric, not_possible, ratio
from herder.lab.ledger import Report

FIELDS = ["name", "unit", "value", "min", "max", "limit", "ratio_to_limit", "peer", "ratio_to_peer", "note"]


def run(**given: object) -> Run:
    facts = {"acked": 10, "lost": 0, "doubled": 0, "unknown": 1, "gap_s": 0.3, "server_gap_s": 0.2} | given
    return Run(Report(**facts), "pledges of the voters")


def test_the_object_has_the_promised_fields_and_no_other():
    found = as_object("failover", {"cores": 2}, 1, [metric("premium.switchover.gap_s", "s", [0.1])])
    assert list(found) == ["bench", "machine", "runs", "metrics"]
    assert list(found["metrics"][0]) == FIELDS


def test_the_value_is_the_median_with_its_ratios():
    found = metric("x", "s", [0.9, 0.3, 0.1], anchor=ANCHORS["engine_killed"])
    assert (found.value, found.min, found.max) == (0.3, 0.1, 0.9)
    assert (found.ratio_to_limit, found.ratio_to_peer) == (2.0, 0.059)


def test_there_is_no_ratio_to_nothing():
    assert ratio(0.1, None) is None
    assert ratio(0.1, 0.0) is None
    assert ratio(None, 1.0) is None


def test_what_cannot_be_had_here_is_null_and_says_so():
    found = not_possible("premium.host_silent.gap_s", "s", NOT_HERE)
    assert (found.value, found.min, found.max, found.note) == (None, None, None, "not possible here")


def test_a_fault_without_namespaces_is_null_in_all_its_metrics():
    found = _metrics("premium", "host_silent", [Run(None, "", NOT_HERE)])
    assert [each.value for each in found] == [None] * 4
    assert [each.name.rpartition(".")[2] for each in found] == ["gap_s", "server_gap_s", "lost", "double"]


def test_the_note_names_the_fence_and_the_client():
    note = _metrics("premium", "engine_killed", [run(), run()])[0].note
    assert note.startswith("fence: pledges of the voters; client: psycopg")


def test_one_lost_write_in_any_run_of_premium_breaks_the_promise():
    found = {each.name: each for each in _metrics("premium", "engine_killed", [run(), run(), run(lost=1)])}
    assert found["premium.engine_killed.lost"].value == 0
    assert is_broken(found["premium.engine_killed.lost"])
    assert not is_broken(found["premium.engine_killed.double"])


def test_a_write_acknowledged_by_two_counts_as_doubled():
    assert _metrics("premium", "host_frozen", [run(by_two=2)])[3].max == 2


def test_what_standard_loses_breaks_no_promise():
    assert not is_broken(metric("standard.host_killed.lost", "writes", [3.0]))


def test_the_stronger_proof_is_named_as_the_fence():
    def event(kind: str, name: str) -> dict[str, str]:
        return {"kind": kind, "event": name, "why": ""}

    assert fence_of([event("failover", "pledged")]) == "pledges of the voters"
    assert "agent" in fence_of([event("failover", "fenced"), event("failover", "pledged")])
    assert "provider" in fence_of([event("failover", "fenced"), event("server", "fenced")])
    assert "in place" in fence_of([event("restart", "restarted")])
    assert "stayed" in fence_of([])
