"""Named queries: all SQL of the store stands in queries.sql, and is looked up here by name."""

from __future__ import annotations

from importlib import resources

_MARK = "-- name:"


def parse(text: str) -> dict[str, str]:
    """`-- name: x` begins a query; it ends where the next one begins. Raises ValueError for a name given twice."""
    queries: dict[str, str] = {}
    for block in text.split(_MARK)[1:]:
        name, _, body = block.partition("\n")
        if name.strip() in queries:
            raise ValueError(f"two queries are named {name.strip()}")
        queries[name.strip()] = body.strip()
    return queries


QUERIES = parse((resources.files(__package__) / "queries.sql").read_text())
