"""How `--help` looks: plain text, commands by what they are about.

Typer's own panels import Rich's Markdown and Pygments, 0.25 s before the first word.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class Grouped(TyperGroup):
    """Commands under the heading that each was registered with, in the order of registration."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        headings: dict[str, list[tuple[str, Any]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                heading = getattr(command, "rich_help_panel", None)
                headings.setdefault(heading if isinstance(heading, str) else "Commands", []).append((name, command))
        names = [name for commands in headings.values() for name, _ in commands]
        if not names:
            return
        widest = max(len(name) for name in names)
        for heading, commands in headings.items():
            with formatter.section(heading):
                limit = formatter.width - 6 - widest
                formatter.write_dl(
                    [(name.ljust(widest), command.get_short_help_str(limit)) for name, command in commands]
                )

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)
