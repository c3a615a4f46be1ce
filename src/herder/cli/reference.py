"""The tables of docs/reference that repeat what the code says: made here, and compared with the pages by a test.

`python -m herder.cli.reference` prints them, to be pasted between the marks.
"""

from __future__ import annotations

import inspect

from herder.model.errors import ERRORS
from herder.model.settings import SETTINGS


def settings_table() -> str:
    """docs/reference/settings.md."""
    lines = ["| setting | kind | default | meaning |", "| --- | --- | --- | --- |"]
    for setting in SETTINGS:
        default = f"`{setting.default}`" if setting.default else ""
        lines.append(f"| `{setting.name}` | {setting.kind} | {default} | {setting.doc.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def exit_codes_table() -> str:
    """docs/reference/cli.md: every kind of operating error with its exit code, its word and its HTTP status."""
    lines = ["| exit code | error | HTTP | means |", "| --- | --- | --- | --- |"]
    for kind in ERRORS:
        means = (inspect.getdoc(kind) or "").splitlines()[0]
        lines.append(f"| {kind.exit_code} | `{kind.code}` | {kind.http_status} | {means} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(settings_table(), exit_codes_table(), sep="\n\n")
