"""Which settings are in force, and where each came from: flag, environment, `herder.toml` or default, in that order.

It stands beside the rooms because the CLI, the wiring and the lab all need it; the list itself is `model/settings.py`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from herder.model.errors import InvalidInput
from herder.model.plans import PLANS
from herder.model.settings import BY_NAME, SETTINGS, Setting

FILE_NAME = "herder.toml"
ROOT_DIRECTORY = "/var/lib/herder"
"""Where root's data is by default: engines run as an unprivileged user, who cannot pass /root (decision 0002)."""

LEASE_MIN_S, LEASE_MAX_S = 1.0, 30.0
"""A shorter lease ends at a hiccup; a longer one is not waited out before its failover's deadline of a minute."""

TRUE = frozenset({"true", "yes", "on", "1"})
FALSE = frozenset({"false", "no", "off", "0"})
_PASSWORD = re.compile(r"(://[^:/@]*:)[^@]*(@)")


@dataclass(frozen=True, slots=True)
class Resolved:
    """One setting in force. value: str, int, float or bool, as its kind says. source: in words, for people."""

    setting: Setting
    value: Any
    source: str

    @property
    def shown(self) -> Any:
        """The value as a person may see it: of a secret URL everything but the password, of another secret nothing."""
        if not self.setting.secret or not self.value:
            return self.value
        masked, found = _PASSWORD.subn(r"\1***\2", str(self.value))
        return masked if found else "***"

    def facts(self) -> dict[str, Any]:
        """What `herder config --json` prints of it."""
        return {"name": self.setting.name, "value": self.shown, "source": self.source}


def default_directory(environ: Mapping[str, str]) -> Path:
    """Where data is kept when nobody says otherwise."""
    if os.geteuid() == 0:
        return Path(ROOT_DIRECTORY)
    share = environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(share) / "herder"


def resolve(
    flags: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None, config: str = ""
) -> dict[str, Resolved]:
    """Every setting by name. flags: texts by setting name, as typed. config: a settings file instead of the
    directory's own. Raises InvalidInput for an unknown key or a value that is not of its kind.
    """
    given = flags or {}
    environment = os.environ if environ is None else environ
    found = {name: Resolved(BY_NAME[name], _parse(BY_NAME[name], text, _flag(name)), _flag(name))
             for name, text in given.items()}  # fmt: skip
    for setting in SETTINGS:
        if setting.name not in found and environment.get(setting.env):
            text = environment[setting.env]
            found[setting.name] = Resolved(setting, _parse(setting, text, setting.env), f"environment {setting.env}")
    named = read_file(_expanded(config, "flag --config")) if config else {}
    if "dir" not in found:
        found["dir"] = named.get("dir") or Resolved(BY_NAME["dir"], str(default_directory(environment)), "default")
    directory = _expanded(found["dir"].value, found["dir"].source).absolute()
    found["dir"] = Resolved(BY_NAME["dir"], str(directory), found["dir"].source)
    from_file = named if config else _directory_file(directory)
    in_force = {s.name: found.get(s.name) or from_file.get(s.name) or _default(s) for s in SETTINGS}
    if in_force["silence_floor_s"].value > in_force["silence_ceiling_s"].value:
        raise InvalidInput("silence_floor_s is above silence_ceiling_s", "lower the floor or raise the ceiling")
    return in_force


def read_file(path: Path) -> dict[str, Resolved]:
    """The settings that a TOML file gives. Raises InvalidInput naming the closest known key for an unknown one."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: Resolved(_known(name, path), _typed(_known(name, path), value, path), str(path))
                for name, value in content.items()}  # fmt: skip
    except FileNotFoundError:
        raise InvalidInput(f"there is no settings file {path}", "name an existing one with --config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}", "make it readable UTF-8 text") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # tomllib's own error is a ValueError, and so is a number too long to read
        raise InvalidInput(f"{path} is not TOML: {error}", 'lines look like  listen = "127.0.0.1:8080"') from None


def _expanded(text: str, source: str) -> Path:
    """A path with the home that `~` means. Raises InvalidInput for one that no file can have."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise InvalidInput(
            f"{source}: {text} begins with the home of a user that is not known", "write it in full"
        ) from None
    if "\0" in text:
        raise InvalidInput(f"{source}: {text!r} is no path", "a path has no zero byte in it")
    return path


def _directory_file(directory: Path) -> dict[str, Resolved]:
    path = directory / FILE_NAME
    try:
        there = path.is_file()
    except PermissionError:
        there = False  # another user's directory: its controller has read the file, we only want the socket
    if not there or not os.access(path, os.R_OK):
        return {}
    settings = read_file(path)
    if "dir" in settings:
        raise InvalidInput(f"{path} sets 'dir', which is the directory that it lies in", "remove that line")
    return settings


def _known(name: str, path: Path) -> Setting:
    if name in BY_NAME:
        return BY_NAME[name]
    close = difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'?" if close else "`herder config` lists every setting"
    raise InvalidInput(f"{path}: there is no setting '{name}'", hint)


def _default(setting: Setting) -> Resolved:
    return Resolved(setting, _parse(setting, setting.default, "default"), "default")


def _flag(name: str) -> str:
    return f"flag --{name.replace('_', '-')}"


def _typed(setting: Setting, value: object, path: Path) -> Any:
    """A TOML value keeps its type: `lease_s = "5"` is refused, so that a file says what it means."""
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (float, int), "bool": (bool,)}
    if not isinstance(value, kinds[setting.kind]) or (isinstance(value, bool) and setting.kind != "bool"):
        raise InvalidInput(f"{path}: {setting.name} is {value!r}, not {_A[setting.kind]}", setting.doc)
    return _parse(setting, str(value), str(path))


_A = {"str": "a text", "int": "a whole number", "float": "a number", "bool": "true or false"}


def _parse(setting: Setting, text: str, source: str) -> Any:
    """A text as the setting's kind. Raises InvalidInput."""
    try:
        value = _READ[setting.kind](text.strip())
    except ValueError:
        raise InvalidInput(f"{source}: {text!r} is not {_A[setting.kind]}", f"{setting.name}: {setting.doc}") from None
    fault = _fault(setting, value)
    if fault:
        raise InvalidInput(f"{source}: {fault}", f"{setting.name}: {setting.doc}")
    return value


def _bool(text: str) -> bool:
    if text.lower() in TRUE:
        return True
    if text.lower() in FALSE:
        return False
    raise ValueError(text)


def _float(text: str) -> float:
    number = float(text)
    if number != number or number in {float("inf"), float("-inf")}:  # noqa: PLR0124  NaN is the number that is not itself
        raise ValueError(text)
    return number


_READ: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "float": _float, "bool": _bool}


def _fault(setting: Setting, value: Any) -> str:
    """What is wrong with a value of the right kind, or ''."""
    if setting.name.endswith("_s") and value <= 0:
        return f"{value} seconds is not a length of time"
    if setting.name == "lease_s" and not LEASE_MIN_S <= value <= LEASE_MAX_S:
        return f"{value:g} seconds is no usable lease (from {LEASE_MIN_S:g} to {LEASE_MAX_S:g})"
    if setting.kind == "int" and value < 0:
        return f"{value} is below zero"
    if setting.name == "on_isolation" and value not in {"serve", "stop"}:
        return f"{value!r} is neither 'serve' nor 'stop'"
    if setting.name == "exercise_plans" and (unknown := _unknown_plans(value)):
        return f"plan {unknown!r} cannot be exercised (premium and standard can)"
    if setting.name == "listen" and value and not _is_host_port(value):
        return f"{value!r} is not HOST:PORT"
    return ""


def _unknown_plans(text: str) -> str:
    """The first name that is no plan with a standby, '' for none."""
    names = (name.strip() for name in text.split(",") if name.strip())
    return next((name for name in names if name not in PLANS or PLANS[name].members < 2), "")


def _is_host_port(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return bool(host and colon) and port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 1 << 16
