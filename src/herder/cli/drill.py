"""`herder drill`: a day on which a region fails, over a simulated fleet, by the engine that runs the real one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from herder.cli import options, say
from herder.model.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from herder.sim.drill.inventory import Inventory
    from herder.sim.drill.result import DrillResult
    from herder.sim.drill.scenario import Scenario

LIVE = "live"
MOST_EVENTS = 10_000
"""What the API gives at once; an incident that is longer ago is not found."""

Which = Annotated[str, typer.Argument(metavar="[NAME|FILE.toml]", help="A scenario of --list, or a file of yours.")]


def drill(
    scenario: Which = "",
    *,
    services: Annotated[int | None, typer.Option("--services", metavar="N", min=1, help="Fleet's size.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="S", help="Draws all chance; the scenario's own.")
    ] = None,
    store: Annotated[
        str, typer.Option("--store", metavar="STORE", help="memory, or a postgres of its own.")
    ] = "postgres",
    report: Annotated[
        str, typer.Option("--report", metavar="DIR", help="Write report.html and result.json there.")
    ] = "",
    inventory: Annotated[
        str, typer.Option("--inventory", metavar="FILE|live", help="Your fleet's shape instead of the scenario's.")
    ] = "",
    from_incident: Annotated[
        str, typer.Option("--from-incident", metavar="ID", help="A scenario made from an incident of your log.")
    ] = "",
    manual: Annotated[str, typer.Option("--manual", metavar="FILE", help="Minutes a task by hand, yours.")] = "",
    copy: Annotated[
        str, typer.Option("--copy", metavar="DEST", help="Write the scenario to a file or a directory; run nothing.")
    ] = "",
    listed: Annotated[bool, typer.Option("--list", help="The scenarios that there are.")] = False,
    path: options.Dir = "",
    as_json: options.Json = False,
) -> None:
    """Run a bad day over a simulated fleet and say what came of it; exit code 1 when an assertion does not hold."""
    if listed:
        _list(as_json=as_json)
        return
    if bool(scenario) == bool(from_incident):
        raise InvalidInput("which scenario?", "name one of `herder drill --list`, a FILE.toml, or --from-incident ID")
    chosen = _scenario(scenario, from_incident, path)
    notes: list[str] = []
    if inventory:
        from herder.sim.drill.inventory import applied

        chosen, notes = applied(chosen, _inventory(inventory, path))
    chosen = chosen.with_services(services) if services else chosen
    if copy:
        _copy(scenario, chosen, copy, changed=bool(from_incident or inventory or services))
        return
    result = _run(chosen, chosen.seed if seed is None else seed, store, manual, notes, quiet=as_json)
    written = _report(result, report) if report else None
    if as_json:
        say.as_json(result.facts())
    else:
        from herder.sim.drill.summary import summary

        say.console().print(summary(result))
        say.note(f"the report is in {written}" if written else "--report DIR writes this with its charts as one page")
    raise typer.Exit(0 if result.passed else 1)


def _list(*, as_json: bool) -> None:
    from herder.sim.drill import reading

    found = [reading.read(name) for name in reading.names()]
    if as_json:
        say.as_json([{"name": each.name, "title": each.title, "story": each.story, "hours": round(each.seconds / 3600, 2),
                      "wanted": [str(wanted) for wanted in each.wanted]} for each in found])  # fmt: skip
        return
    table = say.table("scenario", "what happens", "hours", right=("hours",))
    for each in found:
        table.add_row(each.name, each.title, f"{each.seconds / 3600:.1f}")
    say.console().print(table)


def _scenario(name: str, incident: str, path: str) -> Scenario:
    from herder.sim.drill import reading

    if not incident:
        return reading.read(name)
    from herder.sim.drill.incident import scenario_from

    client = options.client(path)
    events = client.get("/v1/events", limit=MOST_EVENTS)
    return scenario_from(events, incident, client.get("/v1/services"), client.get("/v1/servers"))


def _inventory(wanted: str, path: str) -> Inventory:
    from herder.sim.drill import inventory

    if wanted != LIVE:
        return inventory.read(wanted)
    client = options.client(path)
    return inventory.from_answers(client.get("/v1/services"), client.get("/v1/servers"), "this control plane")


def _copy(name: str, scenario: Scenario, dest: str, *, changed: bool) -> None:
    """The file as it is, with its comments, where nothing was changed. A directory gets the table of minutes too."""
    from herder.sim.drill import manual, reading
    from herder.sim.drill.writing import to_toml

    text = to_toml(scenario) if changed or name.endswith(reading.SUFFIX) else reading.text_of(name)
    place = Path(dest).expanduser()
    whole = not dest.endswith(reading.SUFFIX)
    files = {place / f"{scenario.name}.toml": text, place / "manual.toml": manual.text()} if whole else {place: text}
    for file in files:
        if file.exists():
            raise InvalidInput(f"{file} is there already", "remove it, or choose another name")
    for file, content in files.items():
        _write(file, content)
        say.note(f"wrote {file}")


def _write(file: Path, content: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    except OSError as problem:
        raise InvalidInput(f"{file} cannot be written: {problem.strerror}", "choose another place") from None


def _run(scenario: Scenario, seed: int, store: str, manual: str, notes: list[str], *, quiet: bool) -> DrillResult:
    from herder.sim.drill.command import run
    from herder.sim.drill.stores import STORES

    if store not in STORES:
        raise NotFound(f"there is no store '{store}'", f"choose one of: {', '.join(STORES)}")
    return run(scenario, seed=seed, store=store, manual=manual, notes=notes, quiet=quiet)


def _report(result: DrillResult, directory: str) -> Path:
    import json

    from herder.sim.drill.report import render
    from herder.sim.drill.writing import to_toml

    place = Path(directory).expanduser()
    _write(place / "report.html", render(result))
    _write(place / "result.json", json.dumps(result.facts(), ensure_ascii=False))
    _write(place / "scenario.toml", to_toml(result.scenario))
    return place / "report.html"
