"""The tables of docs/reference/verify.md, from what is searched: `python -m herder.proof.product.pages FILE` writes them in."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from herder.proof.product.aspects import ASPECTS
from herder.proof.product.rules import RULES, SEEN

HARM = {
    "die": "a host dies", "freeze": "a host freezes and thaws", "cut": "cut off from the controller",
    "part": "cut off from other members", "exit": "an engine exits", "far": "a standby falls far behind", "lose": "a disk is lost",
}  # fmt: skip


def aspects() -> Iterator[str]:
    """One line an aspect."""
    yield "| aspect | service | faults | of | besides | not here |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for each in ASPECTS:
        kind = each.kind
        service = f"{kind.plan}, {kind.members} member{'s' if kind.members > 1 else ''}{', under a lease' if kind.on_isolation == 'stop' else ''}"
        besides = [*(f"a person asks: {order}" for order in each.orders)]
        besides += ["nothing can fence"] if not each.fences else []
        besides += ["a controller goes on without its shard"] if each.zombies else []
        harm = ", ".join(words for name, words in HARM.items() if name in each.harm)
        yield f"| `{each.name}` | {service} | {each.faults} | {harm} | {'; '.join(besides)} | {each.abstracts} |"


def rules() -> Iterator[str]:
    """One line a rule."""
    yield "| rule | looked at | in which aspects |"
    yield "| --- | --- | --- |"
    for rule, what in RULES.items():
        yield f"| {rule} {what} | {SEEN[rule]} |"


def filled(text: str) -> str:
    """The page with its tables as they are now."""
    for head, lines in (("aspect", aspects()), ("rule", rules())):
        parts = re.split(rf"^(\| {head} \|.*?)(?=\n\n)", text, maxsplit=1, flags=re.DOTALL | re.MULTILINE)
        text = "\n".join(lines).join((parts[0], parts[2]))
    return text


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
