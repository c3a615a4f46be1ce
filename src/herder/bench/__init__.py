"""Benchmarks on real processes: `herder bench …`. Nothing in production imports this.

Each is imported when it is run: the processes in which the engine is measured import this package too, and their memory
and their start are to be a controller's.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from herder.bench.metrics import Metric, as_object

PROMISED = ("premium.",)
"""Plans that may neither lose nor double a write under any single fault."""


NOT_A_TERMINAL = 200
"""Columns of a table that goes into a file: a narrow one would cut the numbers off."""


def main(
    bench: str, *, runs: int, plans: Sequence[str], faults: Sequence[str], directory: str = "", as_json: bool = False
) -> int:
    """Run 'failover' or 'provision' and print the result; progress goes to stderr. directory: where the throw-away
    directories are made; '' = a temporary one. Returns the exit code: 1 when premium lost or doubled a write.
    """
    from herder.bench import failover, provision  # noqa: PLC0415  see above

    progress = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        progress.print(line, markup=False)

    place = Path(directory).expanduser().absolute() if directory else None
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
    about = machine()
    if bench == "failover":
        found = failover.measure(runs, plans, faults, place, say)
    else:
        found = provision.measure(runs, plans, place, say)
    if as_json:
        json.dump(as_object(bench, about, runs, found), sys.stdout, ensure_ascii=False)
        print()
    else:
        Console().print(table(found))
    return 1 if any(is_broken(each) for each in found) else 0


def main_soak(minutes: float, seed: int, *, directory: str = "", as_json: bool = False) -> int:
    """Run the soak and print the result. Returns 1 when anybody was failed over for nothing."""
    from herder.bench import soak  # noqa: PLC0415  see above

    progress = Console(stderr=True, highlight=False, soft_wrap=True)
    place = Path(directory).expanduser().absolute() if directory else None
    found = soak.measure(minutes, seed, place, lambda line: progress.print(line, markup=False))
    if as_json:
        json.dump(as_object("soak", machine(), 1, found), sys.stdout, ensure_ascii=False)
        print()
    else:
        Console().print(table(found))
    return 1 if any(each.value for each in found if each.name.startswith("soak.false_")) else 0


def main_engine(machines: int, *, directory: str = "", peer: bool = True, as_json: bool = False) -> int:
    """Run the engine's benchmark and print the result. Returns 0: a figure that misses its goal is shown, not failed."""
    from herder.bench import engine  # noqa: PLC0415  see above

    progress = Console(stderr=True, highlight=False, soft_wrap=True)
    place = Path(directory).expanduser().absolute() if directory else None
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
    about = machine()
    found = engine.measure(machines, place, lambda line: progress.print(line, markup=False), with_peer=peer)
    shown = engine.metrics(found)
    if as_json:
        json.dump(engine.as_object(about, found, shown), sys.stdout, ensure_ascii=False)
        print()
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=NOT_A_TERMINAL)
        console.print(table(shown))
        for name in engine.missed(shown):
            progress.print(
                f"{name} misses its goal, which is one for a million machines on two idle cores", style="yellow"
            )
    return 0


def main_pulse(
    members: int, seconds: float, sizes: Sequence[int], *, directory: str = "", as_json: bool = False
) -> int:
    """Measure the pulse and print the result. Returns 0: its goals are numbers of one machine, not promises."""
    from herder.bench import pulse  # noqa: PLC0415  see above

    progress = Console(stderr=True, highlight=False, soft_wrap=True)
    place = Path(directory).expanduser().absolute() if directory else None
    found = pulse.measure(members, seconds, sizes, place, lambda line: progress.print(line, markup=False))
    if as_json:
        told = as_object("pulse", machine(), 1, found) | {"nats_curve": pulse.curve(found)}
        json.dump(told, sys.stdout, ensure_ascii=False)
        print()
    else:
        Console().print(table(found))
    return 0


def main_recovery(services: int, seed: int, *, as_json: bool = False) -> int:
    """Play both days and print the result. Returns 1 when a premium service lost a write."""
    from herder.bench import recovery  # noqa: PLC0415  see above

    progress = Console(stderr=True, highlight=False, soft_wrap=True)
    found = recovery.measure(services, seed, lambda line: progress.print(line, markup=False))
    if as_json:
        json.dump(as_object("recovery", machine(), 1, found) | {"services": services}, sys.stdout, ensure_ascii=False)
        print()
    else:
        Console().print(table(found))
    return 1 if any(each.value for each in found if each.name.endswith(".lost_premium")) else 0


def is_broken(measured: Metric) -> bool:
    """Was a promise that holds in every run broken in one?"""
    kept = measured.name.startswith(PROMISED) and measured.name.endswith((".lost", ".double"))
    return kept and bool(measured.max)


def machine() -> dict[str, Any]:
    """What it was measured on. load: running processes a minute ago; a loaded machine measures its load."""
    from herder.bench import failover  # noqa: PLC0415  see above

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(), "memory_mb": pages >> 20, "kernel": platform.release(),
        "python": platform.python_version(), "root": os.geteuid() == 0, "load": round(os.getloadavg()[0], 2),
        "override": ", ".join(f"{name}={text}" for name, text in failover.OVERRIDE.items()),
    }  # fmt: skip


def table(metrics: Sequence[Metric]) -> Table:
    """For a terminal; of a note only its beginning (the fence), the whole is in the JSON."""
    shown = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("metric", "median", "min", "max", "limit", "/limit", "peer", "/peer", "note"):
        shown.add_column(
            heading, justify="left" if heading in ("metric", "note") else "right", no_wrap=heading != "note"
        )
    for each in metrics:
        numbers = (each.value, each.min, each.max, each.limit, each.ratio_to_limit, each.peer, each.ratio_to_peer)
        style = "red" if is_broken(each) else ""
        shown.add_row(
            Text(each.name, style=style),
            *("-" if n is None else f"{n:,.0f}" if abs(n) >= 1000 else f"{n:.3g}" for n in numbers),
            Text(each.note.split("; ")[0]),
        )
    return shown
