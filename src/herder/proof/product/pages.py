"""The tables of docs/reference/verify.md, from what is searched: `python -m herder.proof.product.pages FILE` writes them in."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from herder.proof import alone
from herder.proof.product.aspects import ASPECTS
from herder.proof.product.rules import RULES, SEEN

HARM = {
    "die": "a host dies", "freeze": "a host freezes and thaws", "cut": "cut off from the controller",
    "part": "cut off from other members", "exit": "an engine exits", "far": "a standby falls far behind", "lose": "a disk is lost", "full": "the disk of the primary is full",
    "provider": "the provider does not answer", "store": "the object store takes nothing", "override": "a role's setting makes commits wait for nobody",
    "power": "a zone without power", "mute": "a zone cut off from the controller", "deaf": "the controller cut off from everybody",
}  # fmt: skip


NEAR_WORDS = {
    "provider": "the provider", "store": "the object store and its archive", "word": "people who say how it is",
    "storm": "the storm watch, canaries, the recovery and people who hold it", "freeze": "freezes of people and of the budget",
    "rollout": "a rolling reboot and people who hold it", "calendar": "the calendar of exercises and people who set it",
    "durability": "what readings say of roles' settings",
}  # fmt: skip


def aspects() -> Iterator[str]:
    """One line an aspect."""
    yield "| aspect | service | faults | of | besides | not here |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for each in ASPECTS:
        kind = each.kind
        service = f"{kind.plan}, {kind.members} member{'s' if kind.members > 1 else ''}{', under a lease' if kind.on_isolation == 'stop' else ''}"
        besides = [*(f"a person asks: {order.replace('_', ' ')}" for order in each.orders)]
        besides += ["nothing can fence"] if not each.fences else []
        besides += [NEAR_WORDS[part] for part in each.near]
        besides += ["a controller goes on without its shard"] if each.zombies else []
        besides += ["two words come in one record"] if each.together else []
        besides += ["clients write without a pause"] if each.busy else []
        harm = ", ".join(words for name, words in HARM.items() if name in each.harm)
        left = ", ".join(filter(None, (each.abstracts, f"ways of more than {each.steps} steps" if each.steps else "")))
        luck = f" and {each.luck} of bad luck" if each.luck > 0 else ""
        yield f"| `{each.name}` | {service} | {each.faults}{luck} | {harm} | {'; '.join(besides)} | {left} |"


def rules() -> Iterator[str]:
    """One line a rule."""
    yield "| rule | looked at | in which aspects |"
    yield "| --- | --- | --- |"
    for rule, what in RULES.items():
        yield f"| {rule} {what} | {SEEN[rule]} |"


def apart() -> Iterator[str]:
    """One line a reason why rows are walked alone."""
    yield "| walked alone | because | rows |"
    yield "| --- | --- | --- |"
    for group in alone.GROUPS:
        rows = "; ".join(
            f"{row.kind} `{row.event}`" + (f" ({', '.join(row.states)})" if row.states else "") for row in group.rows
        )
        yield f"| {group.title} | {group.why} | {rows} |"


def filled(text: str) -> str:
    """The page with its tables as they are now."""
    for head, lines in (("aspect", aspects()), ("rule", rules()), ("walked alone", apart())):
        parts = re.split(rf"^(\| {head} \|.*?)(?=\n\n)", text, maxsplit=1, flags=re.DOTALL | re.MULTILINE)
        text = "\n".join(lines).join((parts[0], parts[2]))
    return text


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
