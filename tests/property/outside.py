"""Everything that reads bytes or texts from outside of the process, each with what it may raise and samples that it takes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from herder.agent.ledger import LEDGER_VERSION, _Book, _opened, _sealed
from herder.drivers.postgres.control import parse_history
from herder.drivers.postgres.probe import verdict
from herder.engine.record import FORMAT, GENESIS, Body, Broken, _chain, open_record
from herder.engine.world import World
from herder.machines.registry import BY_KIND
from herder.model.errors import Environment, InvalidInput, NotFound
from herder.model.lsn import parse_lsn
from herder.model.names import service_name
from herder.model.windows import parse_length, parse_window
from herder.ports.driver import Position, Reading, Role, SyncSet
from herder.ports.store import StoredRecord
from herder.ports.wire import FRAME_VERSION, Job, JobReply, JobStatus, MemberPulse, Pulse
from herder.proof import playbook_file
from herder.proof.mutants import given
from herder.proof.mutants.render import EXAMPLE
from herder.providers import files
from herder.pulse import fleet_frame
from herder.settings import read_file, resolve
from herder.sim.drill import inventory, manual, reading
from herder.sim.seeds.campaign import Wish
from herder.sim.seeds.kept import Kept
from herder.sim.seeds.plan import draw_items, from_json, to_json
from herder.wire import frame
from herder.wire.credentials import (
    Authority,
    JoinRequest,
    new_keys,
    new_user_seed,
    public_key,
    read_join_token,
    user_name,
    valid_user_key,
)
from tests.machines import sample


@dataclass(frozen=True)
class Reader:
    """read: bytes in; anything or one of `refuses` out. takes: samples that it reads."""

    name: str
    read: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...]
    takes: tuple[bytes, ...]

    def __str__(self) -> str:
        return self.name

    def tried(self, data: bytes) -> Exception | None:
        """What it refuses these bytes with; None when it takes them. Anything else that it raises is a bug."""
        try:
            self.read(data)
        except self.refuses as error:
            return error
        return None


def as_text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """A reader of texts, over bytes: what a terminal or an environment gives, surrogates included."""
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


def as_file(suffix: str, read: Callable[[str], object]) -> Callable[[bytes], object]:
    """A reader of a path, over the file's bytes."""

    def over(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / f"given{suffix}"
            path.write_bytes(data)
            return read(str(path))

    return over


def sealed_so(body: bytes) -> object:
    """A record whose hash fits whatever its body is."""
    digest = _chain(0, 1, 1, 5, GENESIS, body)
    return open_record(StoredRecord(shard=0, seq=1, epoch=1, at_ms=5, body=body, prev_hash=GENESIS, hash=digest), None)


def encoded_body(body: Body) -> bytes:
    return msgspec.msgpack.encode(body)


def world() -> World:
    made = sample.well()
    sample.put(made, sample.PLAYBOOK, "failover", "pledging", **sample.playbook_facts())
    sample.put(made, 9, "page", "open", name="page-1", subject=1, service=1, reason="blocked", text="x", times=1)
    return made


READING = Reading(
    alive=True, role=Role.PRIMARY, position=Position(1, 2**60, "x"), streaming={"m2": 5}, sync=SyncSet(1, ("m2", "m3"))
)
PULSE = Pulse(
    version=FRAME_VERSION, server="s1", incarnation=2, agent_pid=7, life="ab", seq=3, sent_ms=4, paused_ms=0, rss_kb=5,
    disk_free=6, members=(MemberPulse(member="m1", service="orders", term=9, reading=READING),),
)  # fmt: skip
JOB = Job(intent="i", name="stop", server="s1", incarnation=2, member="m1", term=9, order=8, args={"fast": True})
REPLY = JobReply(intent="i", status=JobStatus.DONE, result={"lsn": 5}, term=9)

IDS = np.arange(1, 4)
HEAD = fleet_frame.Header(7, 2, 9, 5)
ROWS = fleet_frame.rows(HEAD, server=IDS, incarnation=1, life=1, member=IDS + 100, seq=1, flags=1)

AUTHORITY = Authority(new_keys(1_700_000_000))
KEY = public_key(new_user_seed())
TOKEN = AUTHORITY.join_token("nats://127.0.0.1:4222", "hush", 2_000_000_000)

INVENTORY = {"plan": [{"plan": "dev", "services": 3}], "zone": [{"name": "a", "servers": 3}]}

MUTANTS = EXAMPLE.encode()

CONFIG = b'lease_s = 5\nfencing = false\nlisten = "127.0.0.1:8080"\non_isolation = "stop"\nexercise_plans = "premium"\n'


CAMPAIGN = b"""{"format": 1, "code": "x", "hours": null, "services": 3, "jitter": false, "done": [[1, 2], [5, 5]], "seeds": 3,
 "idle": 0, "paged": 1, "counts": {"virtual_s": 7.5, "records": 9}, "counters": {"faults": {"kill_host": 2}}, "failures": []}"""


def campaign(path: str) -> object:
    return Kept(Path(path), Wish(1, 5, services=3), "x")


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value)


READERS = (
    Reader("pulse", frame.decode_pulse, (frame.FrameError,), (frame.encode(PULSE),)),
    Reader("job", frame.decode_job, (frame.FrameError,), (frame.encode(JOB),)),
    Reader("reply", frame.decode_reply, (frame.FrameError,), (frame.encode(REPLY),)),
    Reader(
        "fleet frame", fleet_frame.decode, (fleet_frame.FrameError,),
        (fleet_frame.encode_rows(ROWS), fleet_frame.encode_bitmap(HEAD, IDS)),
    ),
    Reader("relay of a frame", frame.relay_of, (), (fleet_frame.encode_rows(ROWS),)),
    Reader("join token", as_text(read_join_token), (InvalidInput,), (TOKEN.encode(),)),
    Reader("user of a JWT", as_text(user_name), (), (AUTHORITY.agent_jwt("s1", KEY).encode(),)),
    Reader("user key", as_text(valid_user_key), (), (KEY.encode(),)),
    Reader(
        "record of the log", sealed_so, (Broken,),
        (encoded_body(Body(FORMAT, "moves", "", b"\0" * 24, [])), encoded_body(Body(FORMAT, "takeover", "c1", b"", []))),
    ),
    Reader("snapshot", World.restore, (Broken,), (world().snapshot(), World().snapshot())),
    Reader("agent's ledger", _opened, (ValueError,), (_sealed(_Book()), _sealed(_Book(version=LEDGER_VERSION)))),
    Reader(
        "JSON of a directory", as_file(".json", lambda path: files.read(Path(path), JoinRequest)), (Environment,),
        (encoded(JoinRequest("s1", 1, "hush", KEY)),),
    ),
    Reader("herder.toml", as_file(".toml", lambda path: read_file(Path(path))), (InvalidInput,), (CONFIG,)),
    Reader("settings", as_file(".toml", lambda path: resolve({}, {}, path)), (InvalidInput,), (CONFIG,)),
    Reader(
        "flag of a setting", as_text(lambda text: resolve({"listen": text, "dir": text, "on_isolation": "stop"}, {})),
        (InvalidInput,), (b"127.0.0.1:8080",),
    ),
    Reader("window", as_text(parse_window), (InvalidInput,), (b"mon-fri 02:00-05:00", b"always", b"sat,sun 22:00-04:00")),
    Reader("length", as_text(parse_length), (InvalidInput,), (b"7d", b"12h")),
    Reader("name", as_text(service_name), (InvalidInput,), (b"orders", b"orders-2")),
    Reader("log position", as_text(parse_lsn), (ValueError,), (b"0/3000148", b"FFFFFFFF/0")),
    Reader(
        "timeline history", as_text(lambda text: parse_history(text, 3)), (Environment,),
        (b"1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tx\n",),
    ),
    Reader("first word of PostgreSQL", verdict, (), (b"R\0\0\0\x08\0\0\0\x05", b"E\0\0\0\x10C57P03\0")),
    Reader(
        "scenario", as_file(".toml", reading.read), (InvalidInput, NotFound),
        (reading.text_of("zone-loss").encode(), reading.text_of("partition-of-the-controller").encode()),
    ),
    Reader("table of work by hand", as_file(".toml", manual.read), (InvalidInput, NotFound), (manual.text().encode(),)),
    Reader(
        "inventory", as_file(".json", inventory.read), (InvalidInput, NotFound), (json.dumps(INVENTORY).encode(),),
    ),
    Reader(
        "inventory in TOML", as_file(".toml", inventory.read), (InvalidInput, NotFound),
        (b'[[plan]]\nplan = "dev"\nservices = 3\n[provider]\nboot_s = 3\n',),
    ),
    Reader(
        "playbook", as_file(".toml", lambda path: playbook_file.read(Path(path))), (InvalidInput,),
        tuple(playbook_file.written(BY_KIND[kind]).encode() for kind in ("restart", "strike")),
    ),
    Reader("mutants", as_file(".toml", lambda path: given.read(Path(path))), (InvalidInput,), (MUTANTS,)),
    Reader("list of faults", from_json, (InvalidInput,), (to_json(draw_items(3, 0.5, 3)),)),
    Reader("kept campaign", as_file(".json", campaign), (InvalidInput,), (CAMPAIGN,)),
)  # fmt: skip
"""One each. A new reader of bytes from outside belongs here."""
