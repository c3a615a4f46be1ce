"""`herder drill` as a person types it, up to the run itself."""

from __future__ import annotations

import sys

import pytest

from herder.cli import main
from herder.sim.drill import reading


@pytest.fixture
def drill(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("HERDER_DIR", str(tmp_path / "data"))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["herder", "drill", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main.run()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def test_the_list_names_every_scenario(drill):
    code, out, _ = drill("--list")
    assert code == 0
    assert all(name in out for name in reading.names())


def test_a_misspelt_scenario_is_told_with_the_known_ones(drill):
    code, _, err = drill("s3-2018")
    assert code == 3
    assert "s3-2017" in err


def test_no_scenario_at_all_is_invalid(drill):
    assert drill()[0] == 2


def test_a_copy_of_a_scenario_keeps_its_comments_and_can_be_run(drill, tmp_path):
    code, _, _ = drill("s3-2017", "--copy", str(tmp_path / "mine.toml"))
    assert code == 0
    assert (tmp_path / "mine.toml").read_text(encoding="utf-8") == reading.text_of("s3-2017")
    assert reading.read(str(tmp_path / "mine.toml")).title == reading.read("s3-2017").title


def test_a_copy_into_a_directory_brings_the_minutes_along(drill, tmp_path):
    drill("zone-loss", "--copy", str(tmp_path / "mine"))
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["manual.toml", "zone-loss.toml"]


def test_a_copy_never_writes_over_a_file(drill, tmp_path):
    (tmp_path / "mine.toml").write_text("precious", encoding="utf-8")
    code, _, _ = drill("zone-loss", "--copy", str(tmp_path / "mine.toml"))
    assert code == 2
    assert (tmp_path / "mine.toml").read_text(encoding="utf-8") == "precious"


def test_a_copy_with_an_inventory_is_a_scenario_of_that_fleet(drill, tmp_path):
    (tmp_path / "fleet.toml").write_text('[[plan]]\nplan = "dev"\nservices = 9\n', encoding="utf-8")
    drill("zone-loss", "--inventory", str(tmp_path / "fleet.toml"), "--copy", str(tmp_path / "mine.toml"))
    assert reading.read(str(tmp_path / "mine.toml")).fleet.services == 9


def test_an_unknown_store_is_told_with_the_known_ones(drill):
    code, _, err = drill("zone-loss", "--store", "mysql")
    assert code == 3
    assert "postgres, memory" in err


def test_the_shape_of_a_fleet_that_does_not_run_cannot_be_asked_for(drill):
    assert drill("zone-loss", "--inventory", "live")[0] == 6


def test_an_incident_needs_a_control_plane_to_ask(drill):
    assert drill("--from-incident", "incident-1")[0] == 6
