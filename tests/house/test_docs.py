"""The documentation is true: links lead somewhere, and what a person can type, set or see is described."""

import importlib
import pkgutil
import re
import subprocess
import sys
from enum import Enum
from pathlib import Path

import pytest

from tests.house.tree import ROOT, files

CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
ELSEWHERE = re.compile(r"^([a-z][a-z0-9+.-]*:|//|#)", re.IGNORECASE)


def test_every_relative_link_leads_to_a_file():
    broken = [
        f"{page}: {target}"
        for page in files()
        if page.endswith(".md")
        for target in _links(page)
        if not ((ROOT / page).parent / target.partition("#")[0]).exists()
    ]
    assert not broken, "these links lead nowhere"


def test_every_command_is_described():
    cli = pytest.importorskip("herder.cli.main", reason="the CLI is not built yet")
    typer_main = pytest.importorskip("typer.main")
    page = _read("docs/reference/cli.md")
    commands = _commands(typer_main.get_command(cli.app), "herder")
    missing = [name for name in commands if not re.search(rf"\b{re.escape(name)}\b", page)]
    assert not missing, "docs/reference/cli.md has no word on these commands"


def test_every_setting_is_described():
    settings = pytest.importorskip("herder.model.settings", reason="settings are not built yet")
    page = _read("docs/reference/settings.md")
    missing = [setting.name for setting in settings.SETTINGS if f"`{setting.name}`" not in page]
    assert not missing, "docs/reference/settings.md has no word on these settings"


def test_every_state_is_described():
    _skip_until_machines_are_drawn()
    pages = "\n".join(_read(page) for page in files() if re.fullmatch(r"docs/machines/[^/]+\.md", page))
    missing = [f"{where}: {state}" for where, state in _states() if not re.search(rf"\b{re.escape(state)}\b", pages)]
    assert not missing, "docs/machines has no word on these states: run `make docs`"


def test_the_drawings_of_the_machines_are_fresh(tmp_path: Path):
    _skip_until_machines_are_drawn()
    subprocess.run([sys.executable, "-m", "herder.machines.render", tmp_path], check=True, cwd=ROOT)
    drawn = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert drawn, "herder.machines.render drew nothing"
    kept = ROOT / "docs/machines"
    stale = sorted(str(name) for name, content in drawn.items() if not _holds(kept / name, content))
    left_over = sorted(
        page
        for page in files()
        if page.startswith("docs/machines/") and Path(page).relative_to("docs/machines") not in drawn
    )
    assert not stale + left_over, (
        "docs/machines differs from the tables: run `make docs` (and remove what is left over)"
    )


def _skip_until_machines_are_drawn() -> None:
    if not (ROOT / "src/herder/machines/render.py").is_file():
        pytest.skip("the drawing of machines is not built yet")


def _links(page: str) -> list[str]:
    prose = CODE.sub("", _read(page))
    return [target for found in LINK.findall(prose) if (target := found[0] or found[1]) and not ELSEWHERE.match(target)]


def _commands(command, name: str) -> list[str]:
    """The full name of every command that a person is shown; groups are walked, not listed."""
    if command.hidden:
        return []
    below = getattr(command, "commands", None)
    if below is None:
        return [name]
    return [full for child, sub in below.items() for full in _commands(sub, f"{name} {child}")]


def _states() -> list[tuple[str, str]]:
    """(module, state) of every Table found in herder.machines."""
    table = pytest.importorskip("herder.machines.table", reason="the tables are not built yet")
    machines = importlib.import_module("herder.machines")
    modules = [
        importlib.import_module(f"herder.machines.{found.name}") for found in pkgutil.iter_modules(machines.__path__)
    ]
    tables = [
        (module.__name__, value)
        for module in modules
        for value in vars(module).values()
        if isinstance(value, table.Table)
    ]
    return [(where, _name(state)) for where, value in tables for state in value.states]


def _name(state: object) -> str:
    return str(state.value) if isinstance(state, Enum) else str(getattr(state, "name", state))


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _read(page: str) -> str:
    path = ROOT / page
    assert path.is_file(), f"{page} is not written"
    return path.read_text(encoding="utf-8")
