"""Small habits that a linter does not hold, or holds only until somebody silences it."""

import ast

from tests.house.tree import ROOT, calls, dotted, files, imports, sources

MAY_PRINT = ("src/herder/cli/", "src/herder/lab/", "src/herder/bench/")
SLEEPS = frozenset({"time.sleep", "asyncio.sleep", "anyio.sleep"})

# Each is spelt in halves, so that this file does not find itself.
NAMES_OF_THE_WORKSHOP = tuple(
    first + second for first, second in (("/wo", "rk/"), (".libr", "ary"), ("farm", "-bench"), ("farm", "-studio"))
)


def test_every_module_says_what_it_is_for():
    silent = [
        source.path
        for source in sources("src", "tests")
        if source.text.strip() and not (ast.get_docstring(source.tree) or "").strip()
    ]
    assert not silent, "a module opens with its purpose, in one or two sentences"


def test_no_error_is_caught_without_naming_it():
    bare = [
        source.at(node.body[0])
        for source in sources("src", "tests")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert not bare, "a bare `except:` also swallows the cancellation that stops a task"


def test_only_rooms_that_speak_to_a_person_print():
    printed = [
        source.at(call)
        for source in sources("src")
        if not source.path.startswith(MAY_PRINT)
        for call, name in calls(source)
        if name == "print"
    ]
    assert not printed, "log it, or return it"


def test_no_test_sleeps_to_wait_for_something():
    slept = [
        source.at(call)
        for source in sources("tests")
        for call, name in calls(source)
        if name in SLEEPS and not _only_yields(call)
    ]
    imported = [source.at(node) for source in sources("tests") for node, name in imports(source) if name in SLEEPS]
    assert not slept + imported, "use virtual time, or wait for the signal itself under a deadline"


def test_no_file_names_the_workshop_it_was_made_in():
    named = [
        f"{path}: {name}"
        for path in files()
        for name in NAMES_OF_THE_WORKSHOP
        if name in path or name.encode() in (ROOT / path).read_bytes()
    ]
    assert not named, "a reader of this repository has no such place"


def _only_yields(call: ast.Call) -> bool:
    """`asyncio.sleep(0)` lets others run and waits for nothing."""
    return dotted(call.func) == "asyncio.sleep" and [ast.unparse(argument) for argument in call.args] == ["0"]
