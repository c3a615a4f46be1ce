"""A trace as a sequence diagram, in Mermaid: who does what to whom, and what the log records of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from herder.proof.product.report import Step, Violation

TOLD = re.compile(r"(?P<who>[^:]+?)(?: -> (?P<whom>[^:]+?))?: (?P<what>.+)", re.DOTALL)
"""A step of the product as `report.Step` tells it."""

MEMBER = re.compile(r"member \d+")
"""Who acts, and on whom, in a step of the voters' search: the first and the last that it names."""


def from_words(rule: str, where: str, what: str, trace: Sequence[str]) -> Violation:
    """What another check found, by the words of its way. where: a scene, or what was broken."""
    return Violation(rule, re.sub(r"\W+", "-", where), what, tuple(trace), tuple(map(_step, trace)))


def _step(words: str) -> Step:
    told, named = TOLD.fullmatch(words), MEMBER.findall(words)
    if named:
        return Step(named[0], named[-1], words)
    if told is not None:
        return Step(told["who"], told["whom"] or told["who"], told["what"])
    return Step("log", "log", words)


def sequence(violation: Violation) -> str:
    """One violation as a Mermaid sequence diagram."""
    return "\n".join(_lines(violation)) + "\n"


def _lines(violation: Violation) -> Iterator[str]:
    yield "sequenceDiagram"
    names = dict.fromkeys(name for step in violation.steps for name in (step.who, step.whom))
    idents = {name: f"p{place}" for place, name in enumerate(names)}
    for name, ident in idents.items():
        yield f"    participant {ident} as {name}"
    for step in violation.steps:
        arrow = "-->>" if step.who == "log" else "->>"
        yield f"    {idents[step.who]}{arrow}{idents[step.whom]}: {_plain(step.what)}"
    if names:
        last = idents[violation.steps[-1].whom]
        yield f"    Note over {last}: {violation.rule} does not hold: {_plain(violation.what)}"


def _plain(words: str) -> str:
    """Without what Mermaid takes for its own."""
    return words.replace(";", ",").replace("#", "no. ").replace("->", "to").replace(":", " -")


def write(violations: tuple[Violation, ...], directory: Path) -> list[Path]:
    """One file a violation; returns them."""
    directory.mkdir(parents=True, exist_ok=True)
    made = []
    for place, violation in enumerate(violations, 1):
        path = directory / f"{place:02}-{violation.rule}-{violation.aspect}.md"
        told = "\n".join(f"{number}. {step}" for number, step in enumerate(violation.trace, 1))
        words = (
            f"# {violation.rule} does not hold: {violation.what}\n\n```mermaid\n{sequence(violation)}```\n\n{told}\n"
        )
        path.write_text(words, encoding="utf-8")
        made.append(path)
    return made
