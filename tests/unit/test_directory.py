"""A data directory that cannot be used is refused before anything starts in it."""

import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from herder.directory import DATA_FORMAT, Directory
from herder.model.errors import Conflict, Environment, InvalidInput, NewerData, TimedOut

ME = "root" if os.geteuid() == 0 else "nobody"
as_root = pytest.mark.needs_root
skip_unless_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs engines as somebody else")


@pytest.fixture
def data(tmp_path):
    return Directory(tmp_path / "data")


def test_a_new_directory_is_made_and_marked_with_its_format(data):
    data.prepare(ME)
    data.prepare(ME)
    assert data.version.read_text() == f"{DATA_FORMAT}\n"
    assert stat.S_IMODE((data.path / "run").stat().st_mode) == 0o700


def test_data_of_a_newer_herder_is_left_alone(data):
    data.prepare(ME)
    data.version.write_text(f"{DATA_FORMAT + 1}\n")
    with pytest.raises(NewerData):
        data.prepare(ME)


def test_a_directory_with_other_peoples_things_is_refused(data):
    data.path.mkdir()
    (data.path / "thesis.tex").touch()
    with pytest.raises(InvalidInput, match=r"thesis\.tex"):
        data.prepare(ME)
    assert not data.version.exists()


def test_a_settings_file_may_be_there_first(data):
    data.path.mkdir()
    (data.path / "herder.toml").touch()
    data.prepare(ME)


def test_a_file_is_no_directory(data):
    data.path.touch()
    with pytest.raises(InvalidInput, match="not a directory"):
        data.prepare(ME)


def test_a_place_that_cannot_be_written_is_said():
    with pytest.raises(Environment, match="cannot write"):
        Directory(Path("/proc/herder")).prepare(ME)


def test_a_full_disk_is_refused_with_how_much_is_needed(data, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=150 << 20))
    with pytest.raises(Environment, match="only 150 MB are free"):
        data.prepare(ME)


@as_root
@skip_unless_root
def test_root_is_told_which_directory_the_engines_user_cannot_pass(data):
    data.path.parent.chmod(0o700)
    with pytest.raises(Environment, match="who cannot pass through"):
        data.prepare("nobody")


@as_root
@skip_unless_root
def test_an_unknown_engine_user_is_said(data):
    with pytest.raises(Environment, match="no user 'ghost-of-herder'"):
        data.prepare("ghost-of-herder")


def test_one_controller_holds_a_directory_and_is_named_to_the_next(data):
    data.prepare(ME)
    assert data.controller() is None
    with data.held():
        assert data.controller() == os.getpid()
        with pytest.raises(Conflict, match=str(os.getpid())), data.held():
            pass
        with pytest.raises(TimedOut), data.held(wait_s=0.05):
            pass
    assert data.controller() is None


def test_a_directory_that_is_not_there_has_no_controller(data):
    assert data.controller() is None
