"""What must be seen sometimes: rare paths that a proof by seeds has to have walked. Each is a row of the coverage table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Sometimes:
    """One row. words: what must be seen; any_of: names of sights or of rows of tables; * stands for anything."""

    words: str
    any_of: tuple[str, ...]

    def count(self, seen: Counter[str]) -> int:
        """How often it was."""
        return sum(times for name, times in seen.items() if any(fnmatchcase(name, wanted) for wanted in self.any_of))


SEEN_WITHIN = 200
"""As many seeds must show every row at least once."""

ROWS: tuple[Sometimes, ...] = (
    Sometimes("two hosts of one service were down at once", ("two hosts of a service down",)),
    Sometimes("a new primary was lost before its followers had it", ("failover.repointing -primary_lost-> paged",)),
    Sometimes("a fence could not be confirmed, and nobody was promoted", ("failover.fencing -unconfirmed-> paged",)),
    Sometimes("a fence could not be confirmed, and a lease was waited out", ("failover.leasing -lease_over-> pledging",)),
    Sometimes("too few pledges, and nobody was promoted", ("failover.pledging -short-> paged",)),
    Sometimes("an engine was ended by its lease", ("a lease ran out",)),
    Sometimes("a frozen primary was powered off", ("a frozen host was powered off",)),
    Sometimes("an old primary thawed after another was promoted", ("a primary thawed after another had been promoted",)),
    Sometimes("a fenced host was kept from coming back by itself", ("a fenced host was kept from coming back by itself",)),
    Sometimes("a former primary rejoined, its divergent log kept", ("a divergent log was kept",)),
    Sometimes("another controller took over in the middle of a failover", ("another controller took over in the middle of a failover",)),
    Sometimes("a controller was killed in the middle of a failover", ("the same controller, started again, took over in the middle of a failover", "another controller took over in the middle of a failover")),
    Sometimes("a controller was killed in the middle of a rebuild", ("the same controller, started again, took over in the middle of a rebuild", "another controller took over in the middle of a rebuild")),
    Sometimes("a controller found that its shard was another's", ("a controller lost its shard",)),
    Sometimes("a provider call timed out but had happened", ("a provider call timed out but happened",)),
    Sometimes("a provider said the opposite of the truth", ("the provider lied",)),
    Sometimes("a vantage point said the opposite of the truth", ("a vantage point lied",)),
    Sometimes("an append ended unknown and had been done", ("append of unknown end, done",)),
    Sometimes("an append ended unknown and had not been done", ("append of unknown end, not done",)),
    Sometimes("an append ended unknown and was done later", ("append of unknown end, done late",)),
    Sometimes("a voter was struck while hosts were cut off", ("a voter was struck under a partition",)),
    Sometimes("a switchover was aborted", ("switchover.*-> abandoned",)),
    Sometimes("an exercise gave way", ("failover.stopping -not_ended-> abandoned", "failover.stopping -overdue-> abandoned", "service.* -abandoned-> *")),
    Sometimes("a failover was blocked by its budget", ("page failover_blocked",)),
    Sometimes("a restart in place failed three times", ("restart.restarting -failed-> paged", "restart.restarting -overdue-> paged")),
    Sometimes("a rebuild was overtaken by a new term", ("rebuild.*-overtaken-> failed",)),
    Sometimes("a server did not boot three times", ("page server_will_not_boot",)),
    Sometimes("an agent refused an order of the past", ("an agent refused an order of the past",)),
    Sometimes("an agent could not write its promise", ("an agent could not write its promise",)),
    Sometimes("a candidate's disk was full when it was promoted", ("a candidate's disk was full when it was promoted",)),
    Sometimes("an agent died while it acted", ("an agent died while it acted",)),
    Sometimes("frames came doubled or out of order and were refused", ("refused out_of_order",)),
    Sometimes("frames of an earlier life were refused", ("refused other_incarnation",)),
    Sometimes("too many fell at once, and remedies were frozen", ("incident.absent -create-> verifying",)),
    Sometimes("it was us, and nobody was judged", ("incident.absent -create-> ours", "incident.verifying -us-> ours")),
    Sometimes("it was a mass outage, recovered in waves", ("incident.verifying -mass-> recovering",)),
    Sometimes("a remedy waited for a provider that was down", ("dependency.uncertain -down-> unavailable", "dependency.uncertain -overdue-> unavailable")),
    Sometimes("a service was destroyed as its owner asked", ("service.retiring -trashed-> retired",)),
    Sometimes("a service was made in the middle of it all", ("a service was made meanwhile",)),
    Sometimes("a rollout rebooted servers", ("server.available -upgrade-> upgrading",)),
)  # fmt: skip


def table(seen: Counter[str]) -> list[tuple[str, int]]:
    """Every row with its count."""
    return [(row.words, row.count(seen)) for row in ROWS]


def missing(seen: Counter[str]) -> list[str]:
    """Rows that were never seen."""
    return [words for words, times in table(seen) if not times]


def merged(counts: Iterable[Counter[str]]) -> Counter[str]:
    """What many seeds saw."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return total
