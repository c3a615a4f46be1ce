"""What was written stays readable: stored logs replay to the stored world, and no code is ever given another meaning."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from herder.engine.projection import history_of
from herder.engine.record import FORMAT, Broken, open_record
from herder.engine.world import World
from herder.ports.store import StoredRecord
from tests.golden.make_samples import HERE, codes, sample, world_as_json

SAMPLES = sorted(HERE.glob("log-*.msgpack"))


def records_of(path: Path) -> list[StoredRecord]:
    return msgspec.msgpack.decode(path.read_bytes(), type=list[StoredRecord])


def replay(records: list[StoredRecord]) -> World:
    world, prev = World(), None
    for stored in records:
        world.apply(open_record(stored, prev))
        prev = stored
    return world


def test_there_is_a_sample_of_every_format():
    assert [path.name for path in SAMPLES] == [f"log-format-{number}.msgpack" for number in range(1, FORMAT + 1)]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_stored_log_replays_to_the_stored_world(path: Path):
    wanted = json.loads(path.with_suffix(".world.json").read_text(encoding="utf-8"))
    assert world_as_json(replay(records_of(path))) == wanted


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_stored_log_is_still_told_in_words(path: Path):
    """Its states and events have the names that they had."""
    world, prev, words = World(), None, set()
    for stored in records_of(path):
        record = open_record(stored, prev)
        world.apply(record)
        words |= {f"{row.kind}: {row.source} -{row.event}-> {row.target}" for row in history_of(record, world)}
        prev = stored
    assert {
        "service: absent -create-> installing", "failover: pledging -pledged-> promoting",
        "member: unavailable -deposed-> unavailable", "strike: shrinking -shrunk-> done",
        "service: retiring -trashed-> retired", "server: retiring -destroyed-> terminated",
    } <= words  # fmt: skip


def test_the_sample_of_format_2_has_what_format_2_added():
    """Spans and births, and a machine of a birth that was since moved by itself."""
    stored, prev, found = records_of(HERE / "log-format-2.msgpack"), None, []
    for each in stored:
        found.append(open_record(each, prev))
        prev = each
    assert any(record.births for record in found)
    assert [span.words for record in found for span in record.spans if not record.births] == [
        ("archive", "available", "stalled", "uncertain"),
        ("member", "available", "followed", "available"),
        ("server", "uncertain", "heard", "available"),
    ]


def test_an_altered_sample_is_noticed():
    records = records_of(SAMPLES[0])
    records[7] = msgspec.structs.replace(records[7], epoch=9)
    with pytest.raises(Broken, match="record 8 of shard 0 was altered"):
        replay(records)


def test_no_stored_code_has_another_meaning():
    """Only ever append: a state or an event in another place would change what old logs say."""
    stored = json.loads((HERE / "codes.json").read_text(encoding="utf-8"))
    now = codes()
    for kind, was in stored.items():
        assert kind in now, f"the log knows machines of kind '{kind}'"
        assert now[kind]["code"] == was["code"]
        for what in ("states", "events"):
            begin = now[kind][what][: len(was[what])]
            assert begin == was[what], f"{kind}: {what} were renumbered; set `event_order`, append states at the end"


def test_every_code_is_stored():
    stored = json.loads((HERE / "codes.json").read_text(encoding="utf-8"))
    hint = "append: python tests/golden/make_samples.py --codes"
    assert stored == codes(), hint


async def test_the_samples_can_still_be_made():
    log, world = await sample()
    assert world_as_json(replay(msgspec.msgpack.decode(log, type=list[StoredRecord]))) == world_as_json(world)
