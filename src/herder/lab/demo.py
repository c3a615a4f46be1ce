"""`herder demo`: real services under steady writers, broken one way after the other, healed by a herder that is not told.

It breaks things from outside (`lab.faults`), looks at what everybody may look at (the API), and keeps account of every
acknowledged write outside the databases (`lab.ledger`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path

from rich.console import Console

from herder.lab import faults, screen
from herder.lab.ledger import CLIENT, PROBERS, Ledger, acknowledged_by_two
from herder.lab.looker import Looker, Writer
from herder.lab.rig import Rig
from herder.lab.screen import (
    FAILED,
    HEALED,
    NOT_POSSIBLE,
    UNDER_WAY,
    WAITING,
    Closing,
    Ending,
    Facts,
    Frame,
    Picture,
    Result,
    Screen,
)
from herder.lab.steps import ALL, HOLD_S, PREMIUM, SERVICES, STEPS, Step
from herder.lab.story import fence_of, is_of, share_out, story_of, well
from herder.model.errors import HerderError, InvalidInput
from herder.providers import netns, procs

FAILOVERS_PER_HOUR = 100
"""The default of 1 would block the second fault of a service, which is right in the night and wrong in a demo."""

EVERY_S = 0.01
"""Seconds between a writer's writes: 100 a second and service leave two cores for what is to be seen."""

READ_S = 1.2
"""Seconds that a sentence stands before it happens."""

WELL_S = 45.0
"""Seconds a service may take until it could stand the next fault."""

NO_MORE_FAULTS_S = 140.0
"""After this no other fault is begun, so that everything ends within three minutes."""

NOTICED_BY_WRITERS_S = 1.0
"""A control plane that dies may not cost its writers this much: it is not on their way."""


# --- the demo -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Open:
    """A fault whose service is not well yet. seq: of the log before it; noticed: has herder moved since?"""

    result: Result
    service: str
    began: float
    seq: int
    voters: int
    noticed: bool = False


@dataclass(slots=True)
class Demo:
    """The course of it. windows: for each service when each of its faults began, to know whose a write is."""

    rig: Rig
    screen: Screen
    results: list[Result]
    looker: Looker
    began: float
    open: list[Open] = field(default_factory=list)
    windows: dict[str, list[tuple[float, Result]]] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)
    premium_harmed: bool = False
    totals: Facts = field(default_factory=dict)

    @property
    def writers(self) -> dict[str, Writer]:
        """By service."""
        return self.looker.writers

    def say(self, sentence: str) -> None:
        """Narrate."""
        self.looker.sentence = sentence
        self.screen.say(sentence)

    def prepare(self) -> None:
        """Make the services, all at once, and put a writer on each."""
        self.say(
            "A premium and a standard PostgreSQL and a standard Valkey are made, each member on a server of its own."
        )
        for name, engine, plan in SERVICES:
            self.rig.create(engine, name, plan, wait=False)
        for name, _, _ in SERVICES:
            self.rig.wait(name, "available", WELL_S)
        ledgers = self.rig.path / "ledgers"
        ledgers.mkdir(mode=0o700)
        with ThreadPoolExecutor(len(SERVICES)) as together:  # each is two processes that import for a second
            list(together.map(lambda service: self._write(service[0], ledgers), SERVICES))
        self.say("A writer on each service, 100 writes a second; every acknowledgement is kept outside the database.")
        for name, _, _ in SERVICES:
            self.until_well(name)
        self.pause(2 * READ_S)

    def _write(self, name: str, ledgers: Path) -> None:
        ledger = Ledger(self.rig.show(name), self.rig.files.socket, ledgers, every_s=EVERY_S)
        ledger.start()
        self.writers[name] = Writer(ledger)

    def run_and_account(self) -> Facts:
        """The totals. What fails on the way is told, and the account is still given."""
        for work in (self.prepare, self.run, self.account):
            try:
                work()
            except Exception as error:  # noqa: BLE001  the table of what was seen is worth more than a trace
                self.bad.append(f"{work.__name__} failed: {error if isinstance(error, HerderError) else repr(error)}")
                if work == self.prepare:
                    break
        return self.totals

    def run(self) -> None:
        """All faults, each as soon as its service could stand it."""
        for step, result in zip(STEPS, self.results, strict=True):
            names = [name for name, _, _ in SERVICES] if step.service == ALL else [step.service]
            if self.elapsed() > NO_MORE_FAULTS_S or not all(self.until_well(name) for name in names):
                result.what = "its service was not well in time to be broken again"
                self.bad.append(f"{result.fault}, {result.service}: {result.what}")
            elif step.service == ALL:
                self.break_control_plane(step, result)
            else:
                self.break_service(step, result)
        for name, _, _ in SERVICES:
            self.until_well(name)

    def break_service(self, step: Step, result: Result) -> None:
        """One fault on one service, and its end where it has one."""
        service = self.rig.show(step.service)
        primary = next(member for member in service["members"] if member["role"] == "primary")
        server = self.rig.server_of(primary)
        self.say(step.sentence.format(primary=primary["id"], server=server["id"], hold=HOLD_S))
        self.pause(READ_S)
        seq = max((event["seq"] for event in self.rig.events("", 1)), default=0)
        result.state = UNDER_WAY
        try:
            began = step.act(self.rig, primary | {"service": step.service}, server)
        except faults.NotPossible as error:
            result.state, result.what = NOT_POSSIBLE, error.message
            self.screen.over(result)
            self.pause(READ_S)
            return
        self.open.append(Open(result, step.service, began, seq, sum(m["voter"] for m in service["members"])))
        self.windows.setdefault(step.service, []).append((began, result))
        if step.undo is not None:
            self.pause(HOLD_S)
            with contextlib.suppress(faults.NotPossible):  # fenced meanwhile: there is nothing left to thaw
                step.undo(server)
        self.pause(step.pause_s)

    def break_control_plane(self, step: Step, result: Result) -> None:
        """Kill -9 of all of it; engines and agents must neither end nor be started again."""
        before = self._pids()
        self.say(step.sentence)
        self.pause(READ_S)
        result.state = UNDER_WAY
        began = time.monotonic()
        for name in self.writers:
            self.windows.setdefault(name, []).append((began, result))
        self.rig.kill_control_plane(everything=True)
        self.pause(HOLD_S / 2)
        self.say("It is started again over the same directory and must find everything as it is.")
        took = self.rig.start_control_plane()
        noticed = [name for name, _, _ in SERVICES if not self.until_well(name)]
        until = time.monotonic()
        result.gap_s = max(self.gaps(name, began, until)[0] or 0.0 for name in self.writers)
        result.server_gap_s = max(self.gaps(name, began, until)[1] or 0.0 for name in self.writers)
        changed = sorted(member for member, pid in self._pids().items() if before.get(member) != pid)
        result.fence = "none needed"
        result.what = f"up again after {took:.1f} s, adopted {len(before) - len(changed)} running engines"
        result.what += f", {', '.join(changed)} had changed" if changed else ", started none again"
        result.state = FAILED if noticed or changed or result.gap_s > NOTICED_BY_WRITERS_S else HEALED
        if result.state == FAILED:
            self.bad.append(f"control plane killed: {result.what}; longest time without writes {result.gap_s:.2f} s")
        self.screen.over(result)

    def _pids(self) -> dict[str, int]:
        """Of every engine. A controller that has just taken over knows them from the first pulse of each agent."""
        end = time.monotonic() + WELL_S
        while True:
            found = {
                member["id"]: int(member["pid"]) for service in self.rig.services() for member in service["members"]
            }
            if all(found.values()) or time.monotonic() > end:
                return found
            time.sleep(0.1)

    # --- waiting --------------------------------------------------------------------------------------------------

    def pause(self, duration_s: float) -> None:
        """Let time pass; faults that heal meanwhile are told at once."""
        end = time.monotonic() + duration_s
        while (left := end - time.monotonic()) > 0:
            self.settle_healed()
            time.sleep(min(0.1, left))

    def until_well(self, name: str) -> bool:
        """Until the service could stand the next fault; False, and told, when that takes too long."""
        end = time.monotonic() + WELL_S
        asked = time.monotonic()
        while time.monotonic() < end:
            self.settle_healed()
            mine = [fault for fault in self.open if fault.service == name]
            if not mine and self.looker.looked_at > asked and self._is_well(name):
                return True
            time.sleep(0.1)
        for fault in [fault for fault in self.open if fault.service == name]:
            self.settle(fault, FAILED)
        self.bad.append(f"{name} is not well after {WELL_S:.0f} s")
        return False

    def _is_well(self, name: str) -> bool:
        found = next((service for service in self.looker.frame.services if service["name"] == name), None)
        return found is not None and self.looker.frame.control_plane and well(found, self.looker.servers)

    def settle_healed(self) -> None:
        """Close the faults whose service is well again. Herder must have moved since: at first a fault looks like peace."""
        looker = self.looker
        for fault in list(self.open):
            service = next(service for service in looker.frame.services if service["name"] == fault.service)
            fault.noticed = fault.noticed or any(
                event["seq"] > fault.seq and is_of(event, service) for event in looker.frame.events
            )
            if fault.noticed and looker.looked_at > fault.began and self._is_well(fault.service):
                self.settle(fault, HEALED)

    def settle(self, fault: Open, state: str) -> None:
        """Fill in what is known now; what was lost or doubled shows when all is audited."""
        self.open.remove(fault)
        result = fault.result
        with contextlib.suppress(HerderError):
            events = [event for event in self.rig.events(fault.service, 400) if event["seq"] > fault.seq]
            result.fence = fence_of(events, fault.voters) or "none needed"
            result.what = story_of(events, self.rig.show(fault.service)["term"], result.fence) or "nothing"
        result.gap_s, result.server_gap_s = self.gaps(fault.service, fault.began, time.monotonic())
        result.state = state
        self.screen.over(result)

    def gaps(self, name: str, since: float, until: float) -> tuple[float | None, float | None]:
        """The client's and the probers' longest time without an acknowledgement."""
        writer = self.writers[name]
        with writer.lock:
            return writer.ledger.gap(since, until), writer.ledger.server_gap(since, until)

    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    # --- the account ----------------------------------------------------------------------------------------------

    def account(self) -> None:
        """End the writers, look for every acknowledged write in its database, and share the findings out."""
        self.say("The writers stop. Every acknowledged write is looked for in its database.")
        totals: Facts = self.totals
        totals |= {"acknowledged": 0, "lost": 0, "doubled": 0, "unknown": 0, "by_two": 0}
        self._measure_whole_windows()
        for name, _, plan in SERVICES:
            writer = self.writers[name]
            with writer.lock:
                writer.ledger.stop()
                found = writer.ledger.audit(self.rig.show(name)["url"])
            entries = writer.entries()
            windows = self.windows.get(name, [])
            share_out(windows, entries, found.lost, found.doubled)
            mine = {"acknowledged": found.acked, "lost": len(found.lost), "doubled": len(found.doubled),
                    "unknown": sum(not entry.ack for entry in entries), "by_two": self._by_two(name)}  # fmt: skip
            for key, number in mine.items():
                totals[key] += number
            totals[name] = {"plan": plan, **mine}
        premium = totals[PREMIUM]
        totals["premium"] = premium
        if premium["lost"] or premium["doubled"] or premium["by_two"]:
            self.premium_harmed = True
            self.bad.append(f"premium: {premium['lost']} acknowledged writes lost, {premium['doubled']} doubled, "
                            f"{premium['by_two']} acknowledged by two primaries")  # fmt: skip

    def _measure_whole_windows(self) -> None:
        """Until the next fault rather than until it looked healed: what stumbled afterwards counts too."""
        for name, windows in self.windows.items():
            ends = [*(began for began, _ in windows[1:]), time.monotonic()]
            for (began, result), end in zip(windows, ends, strict=True):
                client, server = self.gaps(name, began, end)
                result.gap_s = max(result.gap_s or 0.0, client or 0.0)
                result.server_gap_s = max(result.server_gap_s or 0.0, server or 0.0)

    def _by_two(self, name: str) -> int:
        """Writes that an old primary acknowledged after the new one had begun to (rule S1), in each fault's time."""
        windows = self.windows.get(name, [])
        ends = [*(began for began, _ in windows[1:]), time.monotonic()]
        with self.writers[name].lock:
            probed = list(self.writers[name].ledger.probed)
        return sum(
            len(acknowledged_by_two([entry for entry in probed if entry.at <= end], began))
            for (began, _), end in zip(windows, ends, strict=True)
        )

    def end_writers(self) -> None:
        """However it ended: no writer stays."""
        for writer in self.writers.values():
            writer.ledger.stop()


FONTS = "Fira Code, ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"


# --- from the command line ----------------------------------------------------------------------------------------


def main(*, directory: str = "", as_json: bool = False, svg: str = "") -> int:
    """Run it. Returns 0, 1 when a premium write was lost or doubled, 2 when something else failed.

    directory: where the throw-away herder lives, and what is removed at the end; '' for a temporary one. svg: draw the
    richest frame and the table to this file, as the README shows them.
    """
    began = time.monotonic()
    console = screen.console_for_stdout()
    shown = screen.screen_for(console, as_json=as_json)
    plans = {name: plan for name, _, plan in SERVICES}
    results = [Result(step.fault, step.service, plans.get(step.service, "")) for step in STEPS]
    rig = Rig({"failovers_per_hour": str(FAILOVERS_PER_HOUR)}, _throw_away(directory))
    looker = Looker(rig.files.socket, shown, results, began)
    shown.open()
    try:
        demo, totals = _course(rig, shown, results, looker, began)
        left = left_behind(rig.path, looker.namespaces)
    except (KeyboardInterrupt, SystemExit):
        rig.close()
        shown.close()
        left = left_behind(rig.path, looker.namespaces)
        print(f"The demo was ended early. Left of it: {'; '.join(left) or 'nothing'}.", file=sys.stderr)
        raise
    except HerderError:
        raise
    except Exception:  # noqa: BLE001  Python's own status for it is 1, and that says something else here
        shown.close()
        traceback.print_exc()
        return 2
    finally:
        shown.close()
    if left:
        demo.bad.append(f"left running: {'; '.join(left)}")
    ending = Ending(results, totals, time.monotonic() - began, _notes(results), demo.bad)
    if as_json:
        print(json.dumps(_facts(ending), indent=2, ensure_ascii=False), flush=True)
    shown.end(ending)
    if svg:
        draw_svg(Path(svg), looker.richest[1], ending)
    return 1 if demo.premium_harmed else 2 if demo.bad else 0


def _course(rig: Rig, shown: Screen, results: list[Result], looker: Looker, began: float) -> tuple[Demo, Facts]:
    """From nothing to nothing: everything is ended when this returns or raises."""
    demo = Demo(rig, shown, results, looker, began)
    demo.say(f"A throw-away herder starts. One automatic failover of a service within an hour is the rule; "
             f"failovers_per_hour={FAILOVERS_PER_HOUR} overrides it here.")  # fmt: skip
    totals: Facts = {}
    with rig:
        looker.start()
        try:
            totals = demo.run_and_account()
        finally:
            looker.stop()
            demo.end_writers()
            demo.say("Everything is taken down.")
            shown.show(replace(looker.frame, sentence=looker.sentence))
    return demo, totals


def _throw_away(directory: str) -> Path | None:
    """Only a place with nothing in it: all of it is removed at the end."""
    if not directory:
        return None
    path = Path(directory).expanduser().absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InvalidInput(
            f"{path} is not empty, and the demo removes it at the end", "name a directory that is not there"
        )
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def left_behind(directory: Path, namespaces: set[str]) -> list[str]:
    """What still runs or lies about of a rig that was closed, in words; empty when all is gone."""
    running = set(procs.working_under(directory))
    ours = _ancestors()
    named = (int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in ours)
    running |= {pid for pid in named if any(str(directory) in word for word in procs.command_line(pid))}
    found = [f"process {pid} ({procs.describe(pid)})" for pid in sorted(running)]
    found += [f"namespace {name}" for name in sorted(namespaces) if netns.inode_of(name) is not None]
    return [*found, f"directory {directory}"] if directory.exists() else found


def _ancestors() -> set[int]:
    """We and whoever started us: their command lines may name the directory as well."""
    pid, found = os.getpid(), set()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()[1])
        except (OSError, IndexError, ValueError):
            break
    return found


def _notes(results: Sequence[Result]) -> list[str]:
    notes = [
        f"without writes: {CLIENT}",
        f"server: {PROBERS}",
        f"failovers_per_hour was raised to {FAILOVERS_PER_HOUR} for the demo (--override); the default is 1.",
    ]
    missing = [result.fault for result in results if result.state == NOT_POSSIBLE]
    if missing:
        notes.append(f"not possible here, so not shown: {', '.join(missing)} (run it as root for servers with cables)")
    return notes


def _facts(ending: Ending) -> Facts:
    return {
        "faults": [result.facts() for result in ending.results], "totals": ending.totals,
        "seconds": round(ending.seconds, 1), "override": {"failovers_per_hour": FAILOVERS_PER_HOUR},
        "possible": {result.fault: _possible(result) for result in ending.results},
        "client": CLIENT, "probers": PROBERS, "failed": list(ending.bad),
    }  # fmt: skip


def _possible(result: Result) -> bool | None:
    """None: it was not tried."""
    return None if result.state == WAITING else result.state != NOT_POSSIBLE


def draw_svg(path: Path, frame: Frame, ending: Ending) -> None:
    """The picture of the README: one frame while things are broken, and the table."""
    console = Console(record=True, width=120, height=44, file=StringIO(), force_terminal=True, color_system="truecolor",
                      highlight=False)  # fmt: skip
    console.print(Picture(frame))
    console.print()
    console.print(Closing(replace(ending, notes=())))
    drawn = console.export_svg(title="make demo")
    # Rich has the reader's browser fetch a font from elsewhere; a picture in a repository brings nothing along.
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    path.write_text(re.sub(r"font-family: Fira Code, monospace", f"font-family: {FONTS}", drawn), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(svg=sys.argv[1] if len(sys.argv) > 1 else ""))
