"""The crash sweep on real processes: kill -9 of `herder up` when a numbered record of a playbook is in its log.

The hook is outside of herder: the log is read over a connection of its own, a few thousand times a second, and the signal
goes out as soon as the wanted record is seen. So a kill is never before its record, and may be some effects or a record
after it; how many records there were is told with each. `herder sweep` in simulation has no such slack.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from herder.lab import faults
from herder.lab.ledger import Ledger, overtaken
from herder.lab.rig import GLANCE_S, Facts, Rig
from herder.model.errors import HerderError, InvalidInput, TimedOut, Unreachable
from herder.providers import procs
from herder.stores.postgres.own import DATABASE, PORT, ROLE, socket_directory

PLAYBOOKS = ("switchover", "failover", "restart", "provision", "destroy")
SETTINGS = {"failovers_per_hour": "1000"}
WELL_S = 90.0
RECORD_S = 20.0
"""A playbook's next record comes within this, or there is none: then it is killed where it stands."""

AGAIN_SHARE = 0.5
"""This share of samples is killed once more, a few records after the successor's takeover."""

KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Sample:
    """One kill that was made. wanted: the playbook's record, from 1; over: how many more there were when it was dead. again:
    records after the successor's takeover at which that was killed too, 0 = it was not.
    """

    playbook: str
    wanted: int
    over: int
    again: int
    well_s: float
    wrong: tuple[str, ...]


@dataclass(slots=True)
class Outcome:
    """All samples. records: of each playbook, undisturbed."""

    samples: list[Sample] = field(default_factory=list)
    records: dict[str, int] = field(default_factory=dict)
    acked: int = 0
    lost: int = 0
    doubled: int = 0
    by_two: int = 0

    @property
    def passed(self) -> bool:
        """Each ended as it does undisturbed, and no acknowledged write is gone."""
        return not (any(sample.wrong for sample in self.samples) or self.lost or self.doubled or self.by_two)

    def facts(self) -> dict[str, Any]:
        """`--json`."""
        return {
            "passed": self.passed, "samples": len(self.samples), "records": self.records, "acked": self.acked,
            "lost": self.lost, "doubled": self.doubled, "by_two": self.by_two,
            "over": dict(sorted(Counter(str(sample.over) for sample in self.samples).items())),
            "kills": [
                {"playbook": s.playbook, "record": s.wanted, "over": s.over, "again": s.again, "well_s": round(s.well_s, 2),
                 "wrong": list(s.wrong)}
                for s in self.samples
            ],
        }  # fmt: skip


class Log:
    """The end of the log, as PostgreSQL has it."""

    def __init__(self, rig: Rig) -> None:
        self._connection = psycopg.connect(
            host=str(socket_directory(rig.path / "store")), port=PORT, user=ROLE, dbname=DATABASE, autocommit=True
        )

    def last(self) -> int:
        """The number of the last record."""
        row = self._connection.execute("SELECT max(seq) FROM herder.log").fetchone()
        return int(row[0] or 0) if row is not None else 0

    def until(self, seq: int, timeout_s: float) -> bool:
        """Wait for a record; False when it does not come."""
        give_up = time.monotonic() + timeout_s
        while self.last() < seq:
            if time.monotonic() > give_up:
                return False
        return True

    def close(self) -> None:
        """Let go."""
        self._connection.close()


class RealSweep:
    """Samples of one rig. say: a line for whoever watches."""

    def __init__(self, rig: Rig, seed: int, say: Callable[[str], None], playbooks: Sequence[str] = PLAYBOOKS) -> None:
        self.rig = rig
        self.playbooks = playbooks
        self.say = say
        self.outcome = Outcome()
        self._chance = random.Random(f"{seed}/real")
        self._made = 0

    def run(self, samples: int) -> Outcome:
        """Each playbook undisturbed, then so many kills, the playbooks in turn, under one writer."""
        log = Log(self.rig)
        try:
            self.rig.create("postgres", KEPT, "premium")
            self.rig.until_well(WELL_S)
            # leadership comes and goes many times: who acknowledged is told by tenure
            ledger = Ledger(self.rig.show(KEPT), self.rig.files.socket, _ledgers(self.rig), probers={"tenures": True})
            with ledger:
                began = time.monotonic()
                for playbook in self.playbooks:
                    self._count(log, playbook)
                for number in range(samples):
                    self._sample(log, self.playbooks[number % len(self.playbooks)])
            report = ledger.report(began, time.monotonic(), self.rig.show(KEPT)["url"])
        finally:
            log.close()
        out = self.outcome
        out.acked, out.lost, out.doubled = report.acked, report.lost, report.doubled
        out.by_two = len(overtaken(ledger.probed))
        return out

    def _count(self, log: Log, playbook: str) -> None:
        """How many records it takes when nobody dies."""
        name = self._ready(playbook)
        before, since = self._glance(name), log.last()
        self._cause(playbook, name)
        self._until_ended(playbook, name, since)
        self.outcome.records[playbook] = log.last() - since
        if wrong := self._wrong(playbook, name, before, since):
            raise HerderError(f"{playbook} does not end well undisturbed: {'; '.join(wrong)}")
        self.say(f"{playbook}: {self.outcome.records[playbook]} records")

    def _sample(self, log: Log, playbook: str) -> None:
        name = self._ready(playbook)
        wanted = self._chance.randint(1, self.outcome.records[playbook])
        again = self._chance.randint(2, 4) if self._chance.random() < AGAIN_SHARE else 0
        before, since = self._glance(name), log.last()
        self._cause(playbook, name)
        over = self._kill_at(log, since + wanted)
        self.rig.start_control_plane()
        if again:
            self._kill_at(log, since + wanted + over + again, 2.0)
            self.rig.start_control_plane()
        began = time.monotonic()
        self._until_ended(playbook, name, since)
        wrong = tuple(self._wrong(playbook, name, before, since))
        sample = Sample(playbook, wanted, over, again, time.monotonic() - began, wrong)
        self.outcome.samples.append(sample)
        twice = f", and again {again} records after that" if again else ""
        self.say(f"{playbook}: killed at record {wanted} (+{over}){twice}: {'; '.join(wrong) or 'as undisturbed'}")

    def _kill_at(self, log: Log, seq: int, timeout_s: float = RECORD_S) -> int:
        """Returns how many records there were beyond it."""
        log.until(seq, timeout_s)
        self.rig.kill_control_plane(everything=False)
        return max(log.last() - seq, 0)

    # --- playbooks

    def _ready(self, playbook: str) -> str:
        """The service that it is done to."""
        if playbook == "provision":
            self._made += 1
            return f"made-{self._made}"
        if playbook == "destroy":
            name = f"made-{self._made}"
            if not any(service["name"] == name for service in self.rig.services()):
                self._made += 1
                name = f"made-{self._made}"
                self.rig.create("postgres", name, "premium")
            self.rig.until_well(WELL_S)
            return name
        self.rig.until_well(WELL_S)
        return KEPT

    def _cause(self, playbook: str, name: str) -> None:
        """Set it off. Its record may be there, and its herder dead, before the answer is."""
        if playbook == "failover":
            faults.kill_engine(self.rig.member(name, "primary")["pid"])
        elif playbook == "provision":
            self.rig.create("postgres", name, "premium", wait=False)
        elif playbook == "destroy":
            self.rig.api("DELETE", f"/v1/services/{name}", {"consent": name})
        else:
            self.rig.api("POST", f"/v1/services/{name}/{playbook}")

    def _until_ended(self, playbook: str, name: str, since: int) -> None:
        """The playbook has ended and all is well."""
        give_up = time.monotonic() + WELL_S
        while not self._ended(playbook, name, since):
            if time.monotonic() > give_up:
                raise TimedOut(
                    f"{playbook} of {name} has not ended after {WELL_S:.0f} s", f"look at {self.rig.files.log}"
                )
            time.sleep(GLANCE_S)
        self.rig.until_well(WELL_S)
        give_up = time.monotonic() + WELL_S
        while playbook != "destroy" and not all(member["pid"] for member in self.rig.show(name)["members"]):
            if time.monotonic() > give_up:  # one that was just started has heard of nobody yet
                raise TimedOut(f"the engines of {name} are not known after {WELL_S:.0f} s")
            time.sleep(GLANCE_S)

    def _ended(self, playbook: str, name: str, since: int) -> bool:
        with suppress(Unreachable, TimedOut):
            return any(_ends(event, playbook, name) for event in self._events(since))
        return False

    def _events(self, since: int) -> list[Facts]:
        return [event for event in self.rig.events(limit=2000) if event["seq"] > since]

    # --- how it ended

    def _glance(self, name: str) -> Facts:
        """What is there before."""
        found = [service for service in self.rig.services() if service["name"] == name]
        if not found:
            return {}
        shown = self.rig.show(name)
        return {
            "term": shown["term"],
            "timeline": _timeline(shown),
            "pids": {m["id"]: m["pid"] for m in shown["members"]},
        }

    def _wrong(self, playbook: str, name: str, before: Facts, since: int) -> list[str]:
        """Differences from what the playbook does undisturbed, seen in engines and processes."""
        events = self._events(since)
        ends = [event["target"] for event in events if _ends(event, playbook, name)]
        wrong = [] if ends == ["done"] else [f"{playbook} ended {ends}"]
        wrong += [f"page: {e['why']}" for e in events if e["kind"] == "page" and e["source"] == "absent"]
        running = _engines(self.rig.path / "servers", name)
        if playbook == "destroy":
            return wrong + ([f"{len(running)} engines still run"] if running else [])
        shown = self.rig.show(name)
        steps = {"provision": (1, 1), "restart": (before.get("term"), before.get("timeline"))}.get(
            playbook, (before.get("term", 0) + 1, before.get("timeline", 0) + 1)
        )
        seen = (shown["term"], _timeline(shown))
        pids = {member["id"]: member["pid"] for member in shown["members"]}
        roles = Counter(member["role"] for member in shown["members"])
        wrong += [] if seen == steps else [f"term and timeline are {seen}, undisturbed {steps}"]
        wrong += [] if roles == {"primary": 1, "standby": 2} else [f"roles are {dict(roles)}"]
        wrong += [] if len(shown["voters"]) == 2 else [f"voters are {shown['voters']}"]
        wrong += [] if sorted(running) == sorted(pids.values()) else [f"engines {running} run, known are {pids}"]
        return wrong


def _ends(event: Facts, playbook: str, name: str) -> bool:
    """A move of the service's playbook into a state that it does not leave."""
    mine = event["kind"] == playbook and event["name"].startswith(f"{name}/")
    return mine and event["target"] in ("done", "failed", "paged", "abandoned", "cancelled")


def _timeline(shown: Facts) -> int:
    """Which timeline the primary writes: each promotion begins one."""
    with psycopg.connect(shown["url"], autocommit=True, connect_timeout=5) as connection:
        row = connection.execute("SELECT pg_walfile_name(pg_current_wal_lsn())").fetchone()
    return int(row[0][:8], 16) if row is not None else 0


def _engines(servers: Path, name: str) -> list[int]:
    """First processes of engines that work in the data of a service's members; backends have titles of their own."""
    found: list[int] = []
    for pid in procs.working_under(servers):
        words = procs.command_line(pid)
        with suppress(OSError):
            inside = f"/data/{name}-" in os.readlink(f"/proc/{pid}/cwd")
            found += [pid] if inside and words and not words[0].startswith("postgres:") else []
    return found


def _ledgers(rig: Rig) -> Path:
    place = rig.path / "ledgers"
    place.mkdir(exist_ok=True)
    return place


def main(samples: int, seed: int, playbooks: Sequence[str] = (), *, as_json: bool) -> int:
    """`herder sweep --real`. playbooks: all when there are none. Returns the exit code. Raises InvalidInput."""
    if unknown := [name for name in playbooks if name not in PLAYBOOKS]:
        raise InvalidInput(f"'{unknown[0]}' is not swept on real processes", f"choose among: {', '.join(PLAYBOOKS)}")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with Rig(SETTINGS) as rig:
        sweep = RealSweep(rig, seed, lambda line: console.print(line, markup=False), playbooks or PLAYBOOKS)
        outcome = sweep.run(samples)
    if as_json:
        print(json.dumps(outcome.facts(), indent=2, ensure_ascii=False), flush=True)
    else:
        Console(highlight=False, soft_wrap=True).print(summary(outcome))
    return 0 if outcome.passed else 1


def summary(outcome: Outcome) -> RenderableType:
    """What the terminal says: a line a playbook, what was different, and the account of the writes."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("playbook")
    for name in ("records", "killed", "killed twice", "at the very record", "differences", "slowest"):
        table.add_column(name, justify="right")
    for playbook, records in outcome.records.items():
        mine = [sample for sample in outcome.samples if sample.playbook == playbook]
        table.add_row(
            playbook, str(records), str(len(mine)), str(sum(s.again > 0 for s in mine)), str(sum(s.over == 0 for s in mine)),
            str(sum(bool(s.wrong) for s in mine)), f"{max((s.well_s for s in mine), default=0.0):.1f} s",
        )  # fmt: skip
    parts: list[RenderableType] = [table]
    parts += [
        Text(f"✗ {sample.playbook} killed at record {sample.wanted} (+{sample.over}): {words}", style="red")
        for sample in outcome.samples
        for words in sample.wrong
    ]
    parts.append(
        Text(
            f"{outcome.acked:,} writes acknowledged; {outcome.lost} lost, {outcome.doubled} twice, {outcome.by_two} by two"
        )
    )
    mark = "✓ each ended as the undisturbed one" if outcome.passed else "✗ not as undisturbed"
    return Group(*parts, Text(mark, style="green" if outcome.passed else "bold red"))
