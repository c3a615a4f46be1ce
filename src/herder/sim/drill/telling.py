"""The day in sentences, in the order in which things happened: for the report and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from herder.sim.drill.result import DrillResult, PageSent
from herder.sim.drill.scenario import DEPENDENCIES, Event, What
from herder.sim.drill.words import clock, counted, lasted, share

MOST_PAGES = 12
"""Told one by one up to here; the table has them all."""

_NAMES = {"object_store": "the object store", "provider": "the provider", "pager": "the pager", "fleet": "the whole fleet",
          "controller": "the controller"}  # fmt: skip

_PARTS = {"reads": "reads from", "writes": "writes to", "launches": "launches by", "boots": "boots by", "stops": "stops by",
          "restores": "restores by"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """One sentence and its moment."""

    at_ms: int
    text: str


def story(result: DrillResult) -> list[Told]:
    """What happened, what was done, and how it ended; ascending in time."""
    told = [each for event in result.scenario.events for each in _event(event)]
    told += [_page(page) for page in result.pages[:MOST_PAGES]]
    told += [
        Told(each.drained_ms, f"The last of {each.count:,} {each.what} that had waited ({each.why}) was done; the longest "
             f"wait was {lasted(each.longest_s)}.")
        for each in result.parked if each.drained_ms is not None
    ]  # fmt: skip
    told += _worst(result)
    told += [
        Told(each.made_ms, f"herder's forecast: well by {clock(each.end_ms)}.") for each in (*result.forecasts[:1], *result.forecasts[-1:])
    ][: len(result.forecasts)]  # fmt: skip
    if result.well_ms is not None:
        told.append(Told(result.well_ms, "The last service was well."))
    return sorted(told, key=lambda each: each.at_ms)


def place(event: Event) -> str:
    """Where, in words: 'zone a', 'writes to the object store'."""
    kind, name = event.scope.kind, event.scope.name
    if kind == "zone":
        return f"zone {name}"
    whole = _NAMES[kind]
    return f"{_PARTS[name]} {whole}" if name else whole


def _event(event: Event) -> list[Told]:
    told = [Told(event.at_ms, _sentence(_began(event), event.note))]
    if event.until_ms is not None and event.what is not What.REBOOT:
        told.append(Told(event.until_ms, _sentence(_ended(event))))
    return told


def _sentence(text: str, note: str = "") -> str:
    """A capital and a full stop; the scenario's own note behind it."""
    return f"{text[0].upper()}{text[1:]}{f' ({note})' if note else ''}."


def _began(event: Event) -> str:
    where, part = place(event), "" if event.share == 1 else f"{event.share:.0%} of "
    within = f" within {lasted(event.spread_s)}" if event.spread_s else ""
    return {
        What.DOWN: f"{where} began to fail" if event.scope.name else f"{where} stopped answering",
        What.DELAY: f"{part}what goes to {where} came {lasted(event.delay_s)} late from then on",
        What.DIE: f"{part}{where} died{within}, disks and all",
        What.HALT: f"{part}{where} stopped{within}; the disks are whole",
        What.POWER_OFF: f"{part}{where} lost power{within}",
        What.FREEZE: f"{part}{where} stood still{within}",
        What.CUT: f"the network between the controller and {part}{where} was cut"
        if event.direction == "both" else f"one way between the controller and {part}{where} was cut ({event.direction})",
        What.CLOCK_JUMP: f"the clock of {where} jumped by {lasted(abs(event.step_s))}",
        What.REBOOT: f"the order came to bring {where} onto {event.image or 'a new image'} by {clock(event.until_ms)}",
    }[event.what]  # fmt: skip


def _ended(event: Event) -> str:
    where = place(event)
    if event.scope.kind in DEPENDENCIES:
        return f"{where} worked again" if event.what is What.DOWN else f"{where} was on time again"
    if event.what is What.POWER_OFF:
        return f"power was back in {where}, and its hosts booted all at once"
    return f"{where} could be reached again" if event.what is What.CUT else f"{where} went on"


def _page(page: PageSent) -> Told:
    late = (page.delivered_ms or page.at_ms) - page.at_ms
    how = (
        " It never arrived."
        if page.delivered_ms is None
        else f" It arrived {lasted(late / 1000)} late."
        if late > 60_000
        else ""
    )
    return Told(
        page.at_ms, f"One page for {counted(page.units, 'unit')} ({page.scope}): {page.reason.replace('_', ' ')}.{how}"
    )


def _worst(result: DrillResult) -> list[Told]:
    """The moment with the most services that took no writes."""
    series = list(result.timeline.unavailable.values())
    totals = [sum(values) for values in zip(*series, strict=True)] if series else []
    most = max(totals, default=0)
    if not most:
        return []
    at = result.timeline.at_ms[totals.index(most)]
    return [Told(at, f"The most at once: {counted(most, 'service')} of {result.services:,} took no writes "
                     f"({share(most, result.services)}).")]  # fmt: skip
