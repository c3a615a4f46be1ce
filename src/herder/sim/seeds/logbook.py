"""What the log of a seed says, read as a start would read it: whole, its chain unbroken, and what moved in it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from herder.engine.projection import unit_rows
from herder.engine.record import KEEP, Broken, Record, open_record
from herder.engine.world import World as Committed
from herder.governor.scopes import LIVE
from herder.machines.registry import BY_CODE, BY_KIND, PLAYBOOKS
from herder.ports.store import Store, StoredRecord

SHARD = 0

STORM_S = 10.0
STORM_SERVERS = 6
STORM_SHARE = 0.9
"""So many servers, and so large a share of those there, within so many seconds: no base rate that a seed reaches explains that."""

ANSWER_S = 3.0
"""By then there is an incident. It need not come first: nobody asks whether an engine that its agent saw end may be told."""

INCIDENTS = ("verifying", "ours", "recovering", "paused")


@dataclass(slots=True)
class Falls:
    """Servers that fell of late, by the log: when nearly all did there must be an incident (S7)."""

    fell: deque[tuple[float, int]] = field(default_factory=deque)
    storm_s: float = -1.0  # since when it waits for one; -1: it does not

    def take(self, world: Committed, record: Record, now: float) -> list[str]:
        """A record more, written `now`; what is wrong, in words. world: as it is after it."""
        server = BY_KIND["server"]
        up, down = (
            server.state_codes["available"],
            {server.state_codes[state] for state in ("uncertain", "unavailable")},
        )
        for row in record.columns:
            if int(row["kind"]) == server.code and int(row["source"]) == up and int(row["target"]) in down:
                self.fell.append((now, int(row["machine"])))
        while self.fell and self.fell[0][0] < now - STORM_S:
            self.fell.popleft()
        if len(world.ids_in("incident", *INCIDENTS)):
            self.fell.clear()
            self.storm_s = -1.0
        elif self.storm_s < 0:
            self.storm_s = now if self._storm(world) else -1.0
        elif now > self.storm_s + ANSWER_S:
            told = f"nearly all servers fell at once {now - self.storm_s:.1f} s before record {record.seq}, and no incident was made"
            self.fell.clear()
            self.storm_s = -1.0
            return [told]
        return []

    def _storm(self, world: Committed) -> bool:
        fallen = {ident for _, ident in self.fell if world.get(ident).state != "available"}
        there = len(world.ids_in("server", *LIVE))
        return len(fallen) >= max(STORM_SERVERS, STORM_SHARE * there)


@dataclass(slots=True)
class Logbook:
    """moves: how often each row fired, 'kind.source -event-> target'. rare: what can be seen in the log only. lines: (seq,
    words). doubled: pages that were open twice for one reason. unguarded: many servers fell at once and no incident was made.
    torn: why it cannot be read, '' when it can.
    """

    world: Committed = field(default_factory=Committed)
    records: int = 0
    takeovers: int = 0
    moves: Counter[str] = field(default_factory=Counter)
    rare: Counter[str] = field(default_factory=Counter)
    lines: list[tuple[int, str]] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    backward: list[str] = field(default_factory=list)
    unguarded: list[str] = field(default_factory=list)
    torn: str = ""
    last_hash: bytes = b""
    falls: Falls = field(default_factory=Falls)

    @property
    def completions(self) -> dict[str, int]:
        """Playbooks by how they ended: 'failover.done' and so on."""
        ended: Counter[str] = Counter()
        for kind in PLAYBOOKS:
            if kind not in ("dependency", "archive"):
                ended.update(f"{kind}.{machine.state}" for machine in self.world.of_kind(kind) if not machine.live)
        return dict(sorted(ended.items()))


async def read(store: Store, *, story: bool = False, at: Mapping[int, float] | None = None) -> Logbook:
    """Every record from the first to the last. story: keep a line of words for each move. at: when each was written, in virtual
    seconds; what depends on time is looked at only then.
    """
    book, prev = Logbook(), None
    owner = ""
    while records := await store.tail(SHARD, book.records):
        for stored in records:
            try:
                record = _next(stored, prev)
            except Broken as error:
                book.torn = error.message
                return book
            owner = _take(book, record, owner, story=story)
            if at is not None and stored.seq in at:
                book.unguarded.extend(book.falls.take(book.world, record, at[stored.seq]))
            prev = stored
            book.records, book.last_hash = stored.seq, stored.hash
    return book


def _next(stored: StoredRecord, prev: StoredRecord | None) -> Record:
    if prev is None and stored.seq != 1:
        raise Broken("record 1 is missing")
    return open_record(stored, prev)


def _take(book: Logbook, record: Record, owner: str, *, story: bool) -> str:
    """Take one record in; returns who owns the log after it."""
    world = book.world
    if record.kind == "takeover":
        book.takeovers += 1
        held = [machine.kind for kind in PLAYBOOKS for machine in world.of_kind(kind) if machine.live]
        who = "another controller" if owner and owner != record.owner else "the same controller, started again,"
        for kind in sorted(set(held) - {"dependency", "archive"}):
            book.rare[f"{who} took over in the middle of a {kind}"] += 1
        if story:
            book.lines.append((record.seq, f"{record.owner} takes the shard over as epoch {record.epoch}"))
        owner = record.owner
    terms = {ident: world.get(ident).data.get("term", 0) for ident in world.ids("service").tolist()}
    moved = world.apply(record)
    for ident in set(moved) & terms.keys():
        if world.get(ident).data.get("term", 0) < terms[ident]:
            book.backward.append(f"the term of {world.get(ident).name} went back in record {record.seq}")
    for ordinal, ident in enumerate(moved):
        _tell(book, record, ordinal, ident, story=story)
    return owner


def _tell(book: Logbook, record: Record, ordinal: int, ident: int, *, story: bool) -> None:
    row = record.columns[ordinal]
    table = BY_CODE[int(row["kind"])]
    names = table.state_names
    words = f"{table.kind}.{names[row['source']]} -{table.events[row['event']]}-> {names[row['target']]}"
    book.moves[words] += 1
    if table.kind == "page" and names[row["source"]] == "absent":
        book.rare[f"page {book.world.get(ident).data['reason']}"] += 1
        _check_page(book, record, ident)
    if story and not (int(row["flags"]) & KEEP and table.kind == "dependency"):
        note = record.notes.get(ordinal)
        why = f": {note.why}" if note is not None and note.why else ""
        book.lines.append((record.seq, f"{book.world.get(ident).name}: {words.partition('.')[2]}{why}"))


def _check_page(book: Logbook, record: Record, ident: int) -> None:
    """One page an incident: none is opened while one of the same subject and reason is open."""
    page = book.world.get(ident)
    same = [
        other
        for other in book.world.open_pages(int(page.data["subject"]))
        if other.id != ident and other.data["reason"] == page.data["reason"]
    ]
    if same:
        book.doubled.append(f"record {record.seq}: a second page '{page.data['reason']}' of {page.name}")


async def projection_differs(store: Store, book: Logbook) -> list[str]:
    """Units whose row says something else than the log."""
    rows = {row.machine: row for row in await store.units()}
    found = []
    for wanted in unit_rows(list(book.world.machines.values()), book.world):
        row = rows.get(wanted.machine)
        if row is None or (row.state, row.version) != (wanted.state, wanted.version):
            found.append(
                f"{wanted.name} is {wanted.state} in the log and {row.state if row else 'missing'} in the rows"
            )
    return found
