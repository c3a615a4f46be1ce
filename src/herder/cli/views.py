"""How a service, its like and the whole fleet look on a terminal. Facts in, something that Rich prints out."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from herder.cli import say

Facts = dict[str, Any]

ROOMY_COLUMNS = 96
"""From here on a member's whole row fits."""


def services_view(services: list[Facts]) -> RenderableType:
    """`herder list`."""
    if not services:
        return Text("There are no services yet: herder create postgres mydb --wait", style="dim")
    table = say.table("name", "engine", "plan", "state", "for", "doing", right=("for",))
    for service in services:
        table.add_row(
            Text(service["name"], style="bold"),
            service["engine"],
            service["plan"],
            say.state(service["state"]),
            say.lasted(service["since_ms"]),
            Text(service.get("doing") or "", style="cyan"),
        )
    return table


def service_view(service: Facts, width: int = say.WIDTH_WHEN_PIPED) -> RenderableType:
    """`herder show`: a panel of what the service is, and a table of its members. Passwords are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    grid.add_row(
        "state", Text.assemble(say.state(service["state"]), (f"  for {say.lasted(service['since_ms'])}", "dim"))
    )
    if service.get("doing"):
        grid.add_row("doing", Text(service["doing"], style="cyan"))
    grid.add_row("url", Text(say.without_password(service["url"]) or "not yet"))
    grid.add_row("read url", Text(say.without_password(service["read_url"]) or "not yet"))
    grid.add_row("term", str(service["term"]))
    if service["voters"]:
        grid.add_row("voters", Text(", ".join(service["voters"])))
    title = Text.assemble((service["name"], "bold"), (f"  {service['engine']} · {service['plan']}", "dim"))
    panel = Panel(grid, title=title, title_align="left", border_style="dim", expand=False, padding=(1, 2))
    return Group(panel, Padding(_members(service["members"], narrow=width < ROOMY_COLUMNS), (1, 0, 0, 2), expand=False))


def _members(members: list[Facts], *, narrow: bool) -> RenderableType:
    """The primary first. narrow: without pid, timeline and server, so that an 80-column terminal breaks no line."""
    if not members:
        return Text("no members yet", style="dim")
    left_out = {"pid", "tl", "server"} if narrow else set()
    headings = [name for name in _MEMBER_COLUMNS if name not in left_out]
    table = say.table(*headings, right=("pid", "tl", "lag"))
    for member in sorted(members, key=lambda member: (member["role"] != "primary", member["id"])):
        cells = _member_cells(member)
        table.add_row(*(cells[name] for name in headings))
    return table


_MEMBER_COLUMNS = ("member", "role", "state", "server", "address", "pid", "tl", "lsn", "lag", "voter")


def _member_cells(member: Facts) -> dict[str, RenderableType]:
    leads = member["role"] == "primary"
    return {
        "member": Text(str(member["id"]), style="bold" if leads else ""),
        "role": Text(member["role"] or "-", style="bold" if leads else ""),
        "state": say.state(member["state"]),
        "server": str(member["server"]),
        "address": f"{member['address']}:{member['port']}",
        "pid": str(member["pid"] or "-"),
        "tl": _or_dash(member["timeline"]),
        "lsn": _or_dash(member["lsn"]),
        "lag": "-" if leads else say.size(member["lag_bytes"]),
        "voter": Text("✓", style="green") if member["voter"] else "",
    }


def servers_view(servers: list[Facts]) -> RenderableType:
    """`herder servers`."""
    if not servers:
        return Text("There are no servers yet: the first service makes some.", style="dim")
    table = say.table("server", "life", "state", "address", "namespace", "agent pid", right=("life", "agent pid"))
    for server in servers:
        table.add_row(
            Text(str(server["id"]), style="bold"),
            str(server["incarnation"]),
            say.state(server["state"]),
            str(server["address"]),
            server["namespace"] or "-",
            str(server["agent_pid"] or "-"),
        )
    return table


def status_view(status: Facts) -> RenderableType:
    """`herder status`: everything is well, or what is not, since when, what is done about it, what it waits for."""
    not_well = status["not_well"]
    parts: list[RenderableType] = []
    pages = _open_pages(status.get("pages"))
    if not not_well:
        text = "● everything is well" if not pages else "● every unit is well; pages are still open"
        parts.append(Text(text, style="bold green" if not pages else "bold yellow"))
    else:
        noun = "thing is" if len(not_well) == 1 else "things are"
        parts.append(Text(f"● {len(not_well)} {noun} not well", style="bold red"))
        parts.append(Padding(_not_well(not_well), (1, 0, 1, 2), expand=False))
    if status.get("us"):
        parts.append(Text(f"  ourselves: {in_words(status['us'])}", style="yellow"))
    for down in status.get("dependencies", ()):
        waits = f", {down['backlog']:,} archives wait" if down["backlog"] else ""
        text = f"  {down['name']} is {down['state']} for {say.lasted(down['since_ms'])}{waits}: herder recovery"
        parts.append(Text(text, style="yellow"))
    if pages:
        noun = "page is" if pages == 1 else "pages are"
        parts.append(Text(f"  {pages} {noun} open: herder pages", style="yellow"))
    if status.get("refused_frames"):
        parts.append(Text(f"  frames refused: {in_words(status['refused_frames'])}", style="yellow"))
    parts.append(Text(f"  {_counts(status['state_counts'])}", style="dim"))
    parts.append(Text(f"  controller: {in_words(status['controller'])}", style="dim"))
    return Group(*parts)


def _not_well(rows: list[Facts]) -> RenderableType:
    """A block each, services first, the longest ill first: sentences side by side in columns are hard to read at night."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for row in sorted(rows, key=lambda row: (row["kind"] != "service", row["since_ms"])):
        head = Text.assemble((f"{row['name']}  ", "bold"), say.state(row["state"]))
        grid.add_row(row["kind"], Text.assemble(head, (f"  for {say.lasted(row['since_ms'])}", "dim")))
        if row["why"]:
            grid.add_row("  why", Text(row["why"]))
        grid.add_row("  being done", Text(row["doing"] or "nothing", style="cyan" if row["doing"] else "dim"))
        grid.add_row("  waits for", Text(row["waits_for"] or "-"))
    return grid


def _open_pages(pages: Any) -> int:
    """A number, or the pages themselves."""
    if isinstance(pages, list):
        return sum(1 for page in pages if page.get("state", "open") == "open")
    return int(pages or 0)


def _counts(counts: Facts) -> str:
    """{'service': {'available': 3}} or {'available': 3} in words."""
    parts = []
    for key, value in counts.items():
        if isinstance(value, dict):
            total = sum(value.values())
            states = ", ".join(f"{number} {name}" for name, number in value.items() if number)
            parts.append(f"{total} {key}{'' if total == 1 else 's'} ({states})" if total else "")
        elif value:
            parts.append(f"{value} {key}")
    return " · ".join(part for part in parts if part) or "nothing here yet"


def in_words(value: Any) -> str:
    """A mapping as 'name value, name value', leaving out what is none, no or zero; a text as it is."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(
        f"{key.replace('_', ' ')} {_word(item)}" for key, item in value.items() if item not in (None, "", 0, [], {})
    )


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    return str(value)


def _or_dash(value: Any) -> str:
    return "-" if value in (None, "", 0) else str(value)


def facts_view(rows: list[Facts], nothing: str) -> RenderableType:
    """A table of whatever fields the rows have: times as durations, states in colour."""
    if not rows:
        return Text(nothing, style="dim")
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = say.table(*(_heading(name) for name in names))
    for row in rows:
        table.add_row(*(_cell(name, row.get(name)) for name in names))
    return table


_BYTES = {"rss_kb": 1024, "disk_free": 1, "lag_bytes": 1}


def _heading(name: str) -> str:
    return name.removesuffix("_ms").removesuffix("_kb").removesuffix("_s").replace("_", " ")


def _cell(name: str, value: Any) -> RenderableType:
    if name == "state" and isinstance(value, str):
        return say.state(value)
    if name == "at_ms" or (name.endswith("_ms") and isinstance(value, int) and value > 10**12):
        return Text(say.clock(int(value or 0)), style="dim")
    if isinstance(value, dict):
        return in_words(value)
    if isinstance(value, int) and name in _BYTES:
        return say.size(value * _BYTES[name])
    if name.endswith("_s") and isinstance(value, int | float):
        return f"{value:.1f} s"
    return "-" if value in (None, "") else _word(value)
