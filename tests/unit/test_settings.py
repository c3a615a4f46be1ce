"""Which value wins, what is refused, and what a person is told of it."""

import pytest

from herder.model.errors import InvalidInput
from herder.model.settings import SETTINGS
from herder.settings import resolve


@pytest.fixture
def home(tmp_path):
    return {"HERDER_DIR": str(tmp_path)}


def test_every_default_is_of_its_settings_kind(home):
    kinds = {"str": str, "int": int, "float": float, "bool": bool}
    for setting in SETTINGS:
        assert isinstance(resolve({}, home)[setting.name].value, kinds[setting.kind])


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(home, tmp_path):
    assert resolve({}, home)["lease_s"].source == "default"
    (tmp_path / "herder.toml").write_text("lease_s = 6")
    assert resolve({}, home)["lease_s"].value == 6.0
    assert resolve({}, home)["lease_s"].source == str(tmp_path / "herder.toml")
    home["HERDER_LEASE_S"] = "7"
    assert resolve({}, home)["lease_s"].value == 7.0
    assert resolve({"lease_s": "8"}, home)["lease_s"].source == "flag --lease-s"


def test_a_named_file_replaces_the_directorys_own_and_may_name_the_directory(tmp_path):
    (tmp_path / "herder.toml").write_text("lease_s = 6")
    (tmp_path / "other.toml").write_text(f'dir = "{tmp_path}"\nfailovers_per_hour = 2')
    found = resolve({}, {}, str(tmp_path / "other.toml"))
    assert (found["dir"].value, found["failovers_per_hour"].value, found["lease_s"].value) == (str(tmp_path), 2, 5.0)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("leese_s = 5", "there is no setting 'leese_s'"),
        ('lease_s = "5"', "not a number"),
        ("failovers_per_hour = 1.5", "not a whole number"),
        ("failovers_per_hour = true", "not a whole number"),
        ("fencing = 1", "not true or false"),
        ("lease_s = -1", "not a length of time"),
        ('on_isolation = "halt"', "neither 'serve' nor 'stop'"),
        ('listen = "8080"', "not HOST:PORT"),
        ('dir = "/elsewhere"', "the directory that it lies in"),
        ("lease_s 5", "not TOML"),
        ("silence_floor_s = 9", "above silence_ceiling_s"),
    ],
)
def test_a_line_that_cannot_be_meant_is_refused_in_words(home, tmp_path, line, told):
    (tmp_path / "herder.toml").write_text(line)
    with pytest.raises(InvalidInput, match=told):
        resolve({}, home)


def test_a_misspelt_key_names_the_one_that_was_meant(home, tmp_path):
    (tmp_path / "herder.toml").write_text("leese_s = 5")
    with pytest.raises(InvalidInput) as refused:
        resolve({}, home)
    assert refused.value.hint == "did you mean 'lease_s'?"


@pytest.mark.parametrize(("text", "value"), [("off", False), ("No", False), ("1", True), ("true", True)])
def test_yes_and_no_have_their_usual_words(home, text, value):
    assert resolve({"fencing": text}, home)["fencing"].value is value


def test_a_text_that_is_no_number_names_the_variable(home):
    with pytest.raises(InvalidInput, match="HERDER_LEASE_S"):
        resolve({}, home | {"HERDER_LEASE_S": "long"})


@pytest.mark.parametrize(
    ("url", "shown"),
    [("postgresql://u:p@h/d", "postgresql://u:***@h/d"), ("host=h password=p", "***"), ("", "")],
)
def test_a_password_is_never_shown(home, url, shown):
    assert resolve({"database_url": url}, home)["database_url"].shown == shown


def test_the_default_directory_is_in_the_home_of_an_ordinary_user_and_in_var_lib_of_root(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert resolve({}, {"XDG_DATA_HOME": "/home/me/.local/share"})["dir"].value == "/home/me/.local/share/herder"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert resolve({}, {})["dir"].value == "/var/lib/herder"
