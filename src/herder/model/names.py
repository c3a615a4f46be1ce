"""Names that people choose: RFC 1123 labels, because they become host names and file names."""

from __future__ import annotations

import re

from herder.model.errors import InvalidInput

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")

NAME_MAX = 40
"""Characters. RFC 1123 allows 63; a member adds a suffix and PostgreSQL cuts identifiers at 63."""


def service_name(text: str) -> str:
    """Return `text` when it is a usable service name, else raise InvalidInput saying which rule it breaks."""
    if not text:
        raise InvalidInput("a service needs a name", "give one like 'orders' or 'orders-2'")
    if len(text) > NAME_MAX:
        raise InvalidInput(f"the name is {len(text)} characters long", f"use at most {NAME_MAX}")
    if not _LABEL.fullmatch(text):
        raise InvalidInput(
            f"'{text}' is not a valid name",
            "use lower-case letters, digits and '-', beginning and ending with a letter or digit (RFC 1123 label)",
        )
    return text
