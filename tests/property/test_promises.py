"""What an agent promised, on disk: a file that is torn or changed anywhere is told from an empty one, and promises nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from herder.agent.ledger import Ledger, LedgerBroken, Outcome, _Book, _opened, _sealed
from herder.ports.wire import JobStatus
from tests.property.effort import EFFORT
from tests.property.test_frames import PLAIN, WORDS
from tests.unit.agent.toy import spec_of

SPEC = spec_of("m1", Path("/nowhere"), 1)
MARKS = st.tuples(st.integers(0, 2**62), st.integers(0, 2**62))


def book(marks: dict[str, tuple[int, int]], outcomes: dict[str, Outcome]) -> _Book:
    from herder.agent.ledger import Entry

    members = {name: Entry(term=term, order=order, spec=SPEC) for name, (term, order) in marks.items()}
    return _Book(members=members, outcomes=outcomes)


OUTCOMES = st.builds(
    Outcome, member=WORDS, name=WORDS, status=st.sampled_from(JobStatus),
    result=PLAIN.filter(lambda told: not isinstance(told, float)), error=WORDS,
)  # fmt: skip
BOOKS = st.builds(book, st.dictionaries(WORDS, MARKS, max_size=3), st.dictionaries(WORDS, OUTCOMES, max_size=2))


@EFFORT
@given(BOOKS)
def test_a_book_comes_out_as_it_went_in(written: _Book):
    read = _opened(_sealed(written))
    assert read.members == written.members
    assert read.outcomes.keys() == written.outcomes.keys()


@EFFORT
@given(BOOKS, st.data())
def test_no_byte_of_it_changes_unseen(written: _Book, data: st.DataObject):
    whole = _sealed(written)
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes((whole[at] ^ data.draw(st.integers(1, 255)),)) + whole[at + 1 :]
    with pytest.raises(ValueError, match="checksum"):
        _opened(changed)


async def refuses(path: Path) -> str:
    """Open the ledger as a starting agent does, and ask it for a promise; why it gives none."""
    ledger = Ledger(path)
    try:
        with pytest.raises(LedgerBroken):
            await ledger.admit("m1", 10**9, 0, SPEC)
        return ledger.broken
    finally:
        ledger.close()


async def test_torn_at_any_byte_it_refuses_everything_and_is_left_as_it_is(tmp_path: Path):
    """An agent that took a torn ledger for an empty one would take orders of a term that it had promised to refuse."""
    path = tmp_path / "ledger.json"
    whole = _sealed(book({"m1": (7, 3), "m2": (2, 9)}, {}))
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert "is not usable" in await refuses(path)
        assert path.read_bytes() == whole[:end], "what is left of the promises is evidence"


@settings(EFFORT, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(orders=st.lists(st.tuples(st.sampled_from(["m1", "m2"]), st.integers(0, 5), st.integers(0, 5)), max_size=8))
def test_an_agent_that_was_killed_knows_what_it_had_promised(
    tmp_path_factory: pytest.TempPathFactory, orders: list[tuple[str, int, int]]
):
    """After any promises, a new life reads exactly those."""

    async def lived() -> None:
        path = tmp_path_factory.mktemp("agent") / "ledger.json"
        ledger = Ledger(path)
        promised: dict[str, tuple[int, int]] = {}
        for member, term, order in orders:
            await ledger.admit(member, term, order, SPEC)
            promised[member] = (term, order)
        ledger.close()
        again = Ledger(path)
        assert {name: entry.mark for name in promised if (entry := again.entry(name))} == promised
        again.close()

    asyncio.run(lived())
