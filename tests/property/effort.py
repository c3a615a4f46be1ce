"""How hard the tests of this folder try: enough to find what is there, little enough for every `make test`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

EFFORT = settings(
    max_examples=50,
    deadline=5_000,  # ms an example: kept on a busy machine too; what grows without bound takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)
"""For what takes milliseconds an example. Raise `max_examples` by hand to look longer."""

PLENTY = settings(EFFORT, max_examples=200)
"""For arithmetic, which costs nothing."""
