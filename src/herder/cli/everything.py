"""`herder verify` without more: proves all there is and tells it, for people or as JSON. Runs here, without a control plane."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from herder.proof.everything import Everything, prove
from herder.proof.product import diagrams


def everything(*, quick: bool, as_json: bool, directory: str) -> int:
    """0 when every rule holds, else 1. directory: where diagrams of violations go, '' = nowhere."""
    found = prove(quick=quick)
    if as_json:
        print(json.dumps(_plain(found), indent=2))
    else:
        print("\n".join(_lines(found)))
    if directory:
        pledged = [(scene.scene.name, scene.broken) for scene in found.voters.searched if scene.broken is not None]
        drawn = [diagrams.from_words(broken.rule, name, broken.what, broken.trace) for name, broken in pledged]
        for path in diagrams.write((*found.product.violations, *drawn), Path(directory)):
            print(path)
    return 0 if found.holds else 1


def _plain(found: Everything) -> dict[str, Any]:
    aspects = [
        {name: value for name, value in asdict(each).items() if name != "rows"} for each in found.product.aspects
    ]
    scenes = [
        {name: value for name, value in asdict(each).items() if name != "fired"} for each in found.voters.searched
    ]
    told = asdict(found.tables) | {
        "product": aspects,
        "voters": scenes,
        "rows": found.rows,
        "rows_alone": found.alone,
        "rows_missed": found.missed,
    }
    return told | {"ok": found.holds, "quick": found.quick, "seconds": round(found.seconds, 1)}


def _lines(found: Everything) -> Iterator[str]:
    yield "Each table by itself, and what passes between tables"
    failed = {finding.rule for finding in found.tables.findings}
    for checked in found.tables.checked:
        mark = "not" if failed & {*checked.rule.split(", ")} else "ok"
        yield f"  {mark:3}  {checked.rule:9} {checked.count:7,}  {checked.what}"
    for finding in found.tables.findings:
        yield f"{finding.rule} does not hold at {finding.where}: {finding.what}"
        yield from (f"    {number}. {step}" for number, step in enumerate(finding.trace, 1))
    yield "Voters and pledges, every order of changes, crashes and moves of the lead"
    for scene in found.voters.searched:
        whole = "" if scene.whole else ", not all of it"
        yield f"  {'not' if scene.broken else 'ok':3}  {scene.states:9,} states  {scene.scene.name}{whole}"
    yield from _product(found)
    for broken in found.voters.violations:
        yield f"{broken.rule} does not hold among voters: {broken.what}"
        yield from (f"    {number}. {step}" for number, step in enumerate(broken.trace, 1))
    for violation in found.product.violations:
        yield f"{violation.rule} does not hold in {violation.aspect}: {violation.what}"
        yield from (f"    {number}. {step}" for number, step in enumerate(violation.trace, 1))
    yield from (f"nothing fires {row}" for row in found.missed)
    yield "every rule holds" if found.holds else "not every rule holds"


def _product(found: Everything) -> Iterator[str]:
    yield "The product of one service's machines, with the world that does its worst"
    yield "       states  transitions  depth  seconds   at rest  a person's  aspect"
    for each in found.product.aspects:
        mark = "not" if each.violations else "ok"
        bound = f": ways of {each.steps} steps" if 0 < each.steps <= each.depth else ""
        rest = f"; rest was seen from {each.decided / each.states:.1%}" if each.decided else ""
        whole = "" if each.whole else f" (not all of it{bound}{rest})"
        yield (
            f"  {mark:3} {each.states:8,} {each.transitions:12,} {each.depth:6} {each.seconds:8.1f} {each.resting:9,}"
            f" {each.by_person:11,}  {each.name}{whole}{f'; without {each.abstracts}' if each.abstracts else ''}"
        )
    transitions = sum(each.transitions for each in found.product.aspects)
    yield f"      {found.product.states:8,} {transitions:12,} in all, in {found.seconds:.0f} s"
    alone = sum(map(len, found.alone.values()))
    fired = found.rows - alone - len(found.missed)
    yield f"  rows: {fired} of {found.rows} fire in the product, {alone} more when their table is walked alone with every event"
    yield from (f"    {len(rows):4}  {why}" for why, rows in found.alone.items())
