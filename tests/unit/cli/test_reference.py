"""The reference pages say what the code says."""

import subprocess
import sys
from pathlib import Path

import pytest

from herder.cli.reference import exit_codes_table, settings_table
from herder.model.errors import ERRORS

PAGES = Path(__file__).resolve().parents[3] / "docs" / "reference"


@pytest.mark.parametrize(("page", "table"), [("settings.md", settings_table), ("cli.md", exit_codes_table)])
def test_a_table_of_the_reference_is_as_the_code_has_it(page, table):
    assert table() in (PAGES / page).read_text(encoding="utf-8"), "paste what `python -m herder.cli.reference` prints"


def test_no_two_errors_share_an_exit_code():
    assert len({kind.exit_code for kind in ERRORS}) == len(ERRORS)


@pytest.mark.parametrize("late", ["fastapi", "httpx", "rich", "numpy", "asyncpg", "uvloop", "herder.wiring"])
def test_the_help_imports_nothing_heavy(late):

    script = f"import sys, herder.cli.main; sys.exit({late!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
