"""`herder config`: which settings are in force, and where each came from. Needs no running control plane."""

from __future__ import annotations

from herder.cli import options, say
from herder.cli.flags import with_settings
from herder.settings import resolve


@with_settings
def config(*, flags: dict[str, str], config: options.Config = "", as_json: options.Json = False) -> None:
    """Print every setting: its value (passwords masked) and where it comes from."""
    settings = resolve(flags, config=config)
    if as_json:
        say.as_json([resolved.facts() for resolved in settings.values()])
        return
    from rich.text import Text

    table = say.table("setting", "value", "from")
    for name, resolved in settings.items():
        value = str(resolved.shown).lower() if isinstance(resolved.value, bool) else str(resolved.shown)
        dim = "dim" if resolved.source == "default" else ""
        table.add_row(name, Text(value or "-", style=dim), Text(resolved.source, style=dim))
    say.console().print(table)
