"""What a stranger installs is what was tested: pinned, hashed, and from whichever index is theirs."""

import re

import pytest

from tests.house.tree import ROOT

LOCKED = ("build", "runtime", "dev", "bench")
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)


@pytest.mark.parametrize("name", LOCKED)
def test_requirements_name_no_index(name: str):
    text = _text(f"{name}.txt")
    assert "://" not in text
    assert "index" not in text
    assert "find-links" not in text


@pytest.mark.parametrize("name", LOCKED)
def test_what_is_asked_for_is_what_is_locked(name: str):
    asked = dict(PIN.findall(_text(f"{name}.in")))
    locked = dict(PIN.findall(_text(f"{name}.txt")))
    assert asked
    assert asked.items() <= locked.items(), "run `make lock`"


@pytest.mark.parametrize("name", LOCKED)
def test_every_locked_package_has_a_hash(name: str):
    entries = re.split(r"^(?=[A-Za-z0-9])", _text(f"{name}.txt"), flags=re.MULTILINE)[1:]
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_tools_run_at_the_versions_of_the_runtime():
    runtime, dev = (dict(PIN.findall(_text(f"{name}.txt"))) for name in ("runtime", "dev"))
    assert {name: (runtime[name], dev[name]) for name in runtime.keys() & dev if runtime[name] != dev[name]} == {}


def _text(name: str) -> str:
    return (ROOT / "requirements" / name).read_text(encoding="utf-8")
