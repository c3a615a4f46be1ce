"""A campaign in a file: what was counted stays counted, and only of this code, these options, and by one process."""

import contextlib
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from herder.model.errors import Conflict, InvalidInput
from herder.sim.seeds import kept as module
from herder.sim.seeds.campaign import Tally, Wish, run_all
from herder.sim.seeds.counts import Counts
from herder.sim.seeds.kept import Kept, kept, ranges


def wish(seeds: int, *, hours: float = 0.03) -> Wish:
    return Wish(1, seeds, hours=hours, services=1)


def run(path: Path, asked: Wish, *, stop_after: int = 99) -> tuple[Tally, list[int]]:
    """Like the command, but ended after some seeds as kill -9 would. Returns what is counted, and which seeds ran."""
    ran: list[int] = []

    class KilledError(Exception):
        pass

    with kept(path, asked) as book:

        def on_seed(_: Tally, seed: int) -> None:
            book.keep(seed)
            ran.append(seed)
            if len(ran) >= stop_after:
                raise KilledError

        with contextlib.suppress(KilledError):
            run_all(asked, on_seed, book.tally, book.done)
        return book.tally, ran


def counted(tally: Tally) -> dict[str, object]:
    """Everything but the processor's time, which is never the same."""
    counts = {each.name: getattr(tally, each.name) for each in fields(Counts) if each.name != "core_s"}
    return counts | {"seeds": tally.seeds, "idle": tally.idle, "paged": tally.paged}


def test_an_interrupted_campaign_goes_on_where_it_was_and_counts_as_one(tmp_path: Path):
    file = tmp_path / "campaign.json"
    assert run(file, wish(4), stop_after=2)[1] == [1, 2]
    tally, ran = run(file, wish(4))
    assert ran == [3, 4], "what is done is not run again"
    whole = run_all(wish(4), lambda *_: None)
    assert counted(tally) == counted(whole)
    assert tally.done == [(1, 4)]
    again, ran = run(file, wish(4))
    assert ran == []
    assert counted(again) == counted(whole), "and the file alone says it all"


def test_seeds_of_other_code_or_other_options_are_not_counted(tmp_path: Path):
    file = tmp_path / "campaign.json"
    run(file, wish(1))
    before = file.read_bytes()
    with pytest.raises(InvalidInput, match="other code"):
        Kept(file, wish(1), "0123456789abcdef")
    with pytest.raises(InvalidInput, match="other options"), kept(file, wish(1, hours=0.04)):
        pass
    assert file.read_bytes() == before


def test_a_file_that_is_none_is_refused_and_left_as_it_is(tmp_path: Path):
    file = tmp_path / "notes.txt"
    file.write_text("my notes")
    with pytest.raises(InvalidInput, match="no kept campaign"), kept(file, wish(1)):
        pass
    assert file.read_text() == "my notes"
    with pytest.raises(InvalidInput, match="cannot be kept"), kept(tmp_path / "away" / "campaign.json", wish(1)):
        pass


def test_only_one_process_keeps_a_file(tmp_path: Path):
    file = tmp_path / "campaign.json"
    with kept(file, wish(1)), pytest.raises(Conflict, match="another herder sim"), kept(file, wish(1)):
        pass
    with kept(file, wish(1)) as book:
        assert book.tally.seeds == 0


def test_the_digest_is_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    here = module.code_digest()
    assert here == module.code_digest()
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr("herder.__file__", str(tmp_path / "__init__.py"))
    empty = module.code_digest()
    (tmp_path / "more.py").write_text("MORE = 1")
    more = module.code_digest()
    assert len({here, empty, more}) == 3
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "words.py").write_text("WORDS = 1")
    assert module.code_digest() == more, "what no seed runs does not count"


def test_seeds_in_a_row_are_one_range():
    assert ranges({5, 1, 2, 3, 9}) == [(1, 3), (5, 5), (9, 9)]
    assert ranges(set()) == []


def test_no_seed_enters_a_room_that_its_campaign_does_not_depend_on():
    names = [f"herder.{room.replace('/', '.')}" for room in module.APART]
    play = (
        "import sys; from herder.sim.seeds.campaign import Wish, run_seed\n"
        "run_seed(Wish(7, 1, hours=0.05, services=2), 7)\n"
        "print(*(name for name in sys.modules if name.startswith('herder.')))"
    )
    done = subprocess.run([sys.executable, "-c", play], capture_output=True, text=True, check=True)
    entered = done.stdout.split()
    assert "herder.sim.seeds.person" in entered
    assert [name for name in entered if name in names or name.startswith(tuple(f"{each}." for each in names))] == []
