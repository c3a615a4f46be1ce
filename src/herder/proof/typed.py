"""Values of a file of mutants or of a playbook: a key has one type wherever it stands, and what is of another is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LONGEST_S = 366 * 86_400.0
"""No deadline is longer; NaN is none either."""

_TEXTS = ("name", "doc", "what", "lives", "table", "source", "event", "target", "from", "on", "to", "when", "guard",
          "update", "page", "why", "effect", "deadline")  # fmt: skip
_FLAGS = ("final", "keep", "drop")
_LISTS = ("sends", "emits", "carry")


def mistyped(entry: Mapping[str, Any]) -> str:
    """What is wrong with the first key whose value is not of its type, '' when none is."""
    for key, value in entry.items():
        if wanted := _wanted(key, value):
            return f"'{key}' is not {wanted}"
    return ""


def _wanted(key: str, value: Any) -> str:
    """What the key wants, '' when this is it."""
    if key in _TEXTS:
        return "" if isinstance(value, str) else "a text in quotes"
    if key in _FLAGS:
        return "" if isinstance(value, bool) else "true or false"
    if key in _LISTS:
        texts = key == "carry" and isinstance(value, list) and not all(isinstance(each, str) for each in value)
        return "" if isinstance(value, list) and not texts else "a list"
    if key == "which":
        return "" if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1000 else "a small number"
    if key == "deadline_s":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if number and 0 <= value <= LONGEST_S else "a number of seconds"
    return ""
