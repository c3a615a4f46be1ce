"""The report: one HTML file with everything in it. It opens offline, on a phone, in the dark, and prints."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

from herder.sim.drill import figures, tables
from herder.sim.drill.charts import short
from herder.sim.drill.result import DrillResult
from herder.sim.drill.telling import story
from herder.sim.drill.words import clock, counted, day, lasted, number, share

STATES = (
    "unavailable",
    "uncertain",
    "restart",
    "installing",
    "upgrading",
    "retiring",
    "retired",
    "archived",
    "available",
)
"""Bottom to top of every stack: what is worst stands on the axis, where its size can be read."""

HUES = ("one", "two", "three", "four", "five", "six")
"""For lines that are no states: plans and queues."""


def render(result: DrillResult) -> str:
    """The whole file."""
    scenario = result.scenario
    template = Template((files(__package__) / "report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(scenario.title),
        kicker=escape(f"herder drill · {scenario.name} · {day(scenario.start_ms)} · {result.services:,} services · seed {result.seed}"),
        story=_paragraphs(scenario.story, scenario.source), colours=_colours(), verdict=_verdict(result),
        figures="".join(_figure(*each) for each in _key_figures(result)), sections="".join(_sections(result)),
        footer=_footer(result),
    )  # fmt: skip


def _paragraphs(text: str, source: str) -> str:
    told = escape(" ".join(text.split()))
    from_where = f' <span class="note">Source: {escape(source)}</span>' if source else ""
    return f'<p class="story">{told}{from_where}</p>'


def _colours() -> str:
    """A class for each state and hue, as area and as line. Those that look alike to some also differ in texture."""
    rules = [f".area.{state} {{ fill: var(--{state}); }}" for state in STATES if state not in {"retired", "archived"}]
    rules.append(".area.retired, .area.archived { fill: var(--rest); }")
    rules += [f".line.{hue} {{ stroke: var(--{hue}); }}" for hue in HUES]
    rules.append(".area.hatch { fill: url(#hatch); } .area.dots { fill: url(#dots); }")
    return "\n".join(rules)


def _verdict(result: DrillResult) -> str:
    verdicts = result.verdicts
    missed = [verdict for verdict in verdicts if not verdict.ok]
    if result.passed:
        return f'<div class="verdict"><b>✓ Everything holds.</b> All {len(verdicts)} assertions of the scenario are true of this run.</div>'
    words = "; ".join(f"{verdict.wanted}, it was {number(verdict.value)}" for verdict in missed)
    early = f"The day was not run to its end: {result.ended_early}. " if result.ended_early else ""
    early += f"Errors of herder's own that nobody foresaw: {result.crashed}, see the notes. " if result.crashed else ""
    told = f"{len(missed)} of {len(verdicts)} assertions do not hold: {words}." if missed else ""
    return f'<div class="verdict failed"><b>✗ It does not hold.</b> {escape(early + told)}</div>'


def _key_figures(result: DrillResult) -> list[tuple[str, str, str]]:
    """(what, figure, remark)."""
    scenario, worst = result.scenario, max((max(values, default=0) for values in _sum_unavailable(result)), default=0)
    return [
        ("well again", lasted(result.well_after_s), f"after {clock(scenario.measured_ms)} UTC, at {clock(result.well_ms)}"),
        ("premium writes lost", number(result.lost_premium), "acknowledged, then gone"),
        ("services beyond their bound", number(result.lost_beyond_bound), "lost more than their plan allows"),
        ("most services down at once", number(worst), f"{share(worst, result.services)} of {result.services:,}"),
        ("units touched", number(result.units_touched), f"of {result.machines:,}"),
        ("pages", number(len(result.pages)), "incidents, not units"),
        ("by hand", f"{result.hand.person_years:,.1f} years",
         f"of one person; {result.hand.original_person_years:g} were told of the original day"),
        ("work done twice", "none" if result.amplification in {None, 1.0} else f"{(result.amplification or 1) - 1:.1%}",
         f"{short(result.effects_done)} effects for {short(result.effects_needed)} needed"),
    ]  # fmt: skip


def _sum_unavailable(result: DrillResult) -> list[list[int]]:
    series = list(result.timeline.unavailable.values())
    return [[sum(values) for values in zip(*series, strict=True)]] if series else []


def _figure(what: str, value: str, remark: str) -> str:
    return f"<div><dt>{escape(what)}</dt><dd>{escape(value)}<small>{escape(remark)}</small></dd></div>"


def _sections(result: DrillResult) -> list[str]:
    return [
        section for section in (
            _told(result), *figures.all_of(result, STATES, HUES), tables.bottleneck(result), tables.wanted(result),
            tables.remedies(result), tables.parked(result), tables.pages(result), tables.by_hand(result),
            tables.scenario(result), tables.run(result), _notes(result.notes),
        ) if section
    ]  # fmt: skip


def _told(result: DrillResult) -> str:
    items = "".join(
        f"<li><time>{clock(each.at_ms)}</time><span>{escape(each.text)}</span></li>" for each in story(result)
    )
    return f'<h2>What happened</h2><p class="note">All times are UTC.</p><ol class="told">{items}</ol>' if items else ""


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<h2>What to know besides</h2><ul>{items}</ul>" if items else ""


def _footer(result: DrillResult) -> str:
    command = (
        f"herder drill {result.scenario.name} --services {result.services} --seed {result.seed} --store {result.store}"
    )
    return (
        f"<p>Made by the production engine over a simulated fleet: {counted(result.transitions, 'committed transition')} in "
        f"{lasted(result.wall_s)} of wall time. The same seed gives the same trace, <code>{escape(result.trace_sha256)}</code>.</p>"
        f"<p><code>{escape(command)}</code></p>"
    )
