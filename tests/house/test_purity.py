"""A decision is a function of what it is given: no clock, no chance, no I/O."""

from fnmatch import fnmatch

from tests.house.tree import calls, imports, sources

PURE = (
    "src/herder/model/*",
    "src/herder/machines/*",
    "src/herder/engine/decide.py",
    "src/herder/engine/record*.py",
    "src/herder/pulse/detector.py",
    "src/herder/pulse/storm.py",
    "src/herder/governor/*",
    "src/herder/remedies/catalogue.py",
    "src/herder/remedies/election.py",
)
IMPURE_MODULES = frozenset({"asyncio", "os", "random", "secrets", "socket", "subprocess", "threading", "time"})
IMPURE_CALLS = frozenset({"open", "input", "now", "utcnow", "today", "uuid1", "uuid4"})
"""By last name, so that `datetime.now` and `datetime.datetime.now` are one; only with a dot, but for `open` and `input`."""


def test_pure_rooms_import_no_clock_no_chance_and_no_io():
    impure = [
        f"{source.at(node)} imports {name}"
        for source in _pure()
        for node, name in imports(source)
        if name.partition(".")[0] in IMPURE_MODULES or name.startswith("numpy.random")
    ]
    assert not impure, "pass the time, the chance or the facts in"


def test_pure_rooms_call_no_clock_no_chance_and_no_io():
    impure = [
        f"{source.at(call)} calls {name}"
        for source in _pure()
        for call, name in calls(source)
        if _is_impure(name) or ".random." in name
    ]
    assert not impure, "pass the time, the chance or the facts in"


def _pure():
    return [source for source in sources("src") if any(fnmatch(source.path, pattern) for pattern in PURE)]


def _is_impure(name: str) -> bool:
    owner, _, last = name.rpartition(".")
    return last in IMPURE_CALLS and (bool(owner) or last in {"open", "input"})
