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


def service_view(service: Facts) -> RenderableType:
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
    return Group(panel, Padding(_members(service["members"]), (1, 0, 0, 2)))


def _members(members: list[Facts]) -> RenderableType:
    if not members:
        return Text("no members yet", style="dim")
    table = say.table(
        "member", "role", "state", "server", "address", "pid", "tl", "lsn", "lag", "voter", right=("pid", "lag", "tl")
    )
    for member in sorted(members, key=lambda member: (member["role"] != "primary", member["id"])):
        leads = member["role"] == "primary"
        table.add_row(
            Text(str(member["id"]), style="bold" if leads else ""),
            Text(member["role"] or "-", style="bold" if leads else ""),
            say.state(member["state"]),
            str(member["server"]),
            f"{member['address']}:{member['port']}",
            str(member["pid"] or "-"),
            _or_dash(member["timeline"]),
            _or_dash(member["lsn"]),
            "-" if leads else say.size(member["lag_bytes"]),
            Text("✓", style="green") if member["voter"] else "",
        )
    return table


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
        parts.append(Padding(_not_well(not_well), (1, 0, 1, 0)))
    if status.get("us"):
        parts.append(Text(f"  ourselves: {in_words(status['us'])}", style="yellow"))
    if pages:
        noun = "page is" if pages == 1 else "pages are"
        parts.append(Text(f"  {pages} {noun} open: herder pages", style="yellow"))
    parts.append(Text(f"  {_counts(status['state_counts'])}", style="dim"))
    parts.append(Text(f"  controller: {in_words(status['controller'])}", style="dim"))
    return Group(*parts)


def _not_well(rows: list[Facts]) -> RenderableType:
    table = say.table("what", "state", "for", "why", "being done", "waits for", right=("for",))
    for row in sorted(rows, key=lambda row: (row["kind"] != "service", row["since_ms"])):
        table.add_row(
            Text.assemble((f"{row['kind']} ", "dim"), (str(row["name"]), "bold")),
            say.state(row["state"]),
            say.lasted(row["since_ms"]),
            row["why"] or "",
            Text(row["doing"] or "nothing", style="cyan" if row["doing"] else "dim"),
            row["waits_for"] or "-",
        )
    return table


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
    """A mapping as 'name value, name value'; a text as it is."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(
        f"{key.replace('_', ' ')} {_word(item)}" for key, item in value.items() if item not in (None, "", [], {})
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


def _heading(name: str) -> str:
    return name.removesuffix("_ms").replace("_", " ")


def _cell(name: str, value: Any) -> RenderableType:
    if name == "state" and isinstance(value, str):
        return say.state(value)
    if name == "at_ms" or (name.endswith("_ms") and isinstance(value, int) and value > 10**12):
        return Text(say.clock(int(value or 0)), style="dim")
    if isinstance(value, dict):
        return in_words(value)
    return "-" if value in (None, "") else _word(value)
