"""Every setting as a flag, made from the list of settings: a new setting is a flag without a line written here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from herder.model.settings import SETTINGS, Setting


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `flags: dict[str, str]` one option for each setting instead of that parameter."""
    own = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    kept = [p.replace(annotation=hints[p.name]) for p in own.parameters.values() if p.name != "flags"]
    made = [_parameter(setting) for setting in SETTINGS]

    def run(**given: Any) -> None:
        texts = {s.name: _text(given.pop(s.name)) for s in SETTINGS}
        command(flags={name: text for name, text in texts.items() if text is not None}, **given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {p.name: p.annotation for p in (*kept, *made)} | {"return": None}
    run.__signature__ = own.replace(parameters=[*kept, *made], return_annotation=None)  # type: ignore[attr-defined]
    return run


def typed_again(flags: dict[str, str]) -> list[str]:
    """The flags as arguments for a process started anew; secrets are left out: `ps` shows arguments to everybody."""
    by_name = {setting.name: setting for setting in SETTINGS}
    words: list[str] = []
    for name, text in flags.items():
        flag = f"--{name.replace('_', '-')}"
        if by_name[name].kind == "bool":
            words.append(flag if text == "true" else flag.replace("--", "--no-", 1))
        elif not by_name[name].secret:
            words.append(f"{flag}={text}")
    return words


def _parameter(setting: Setting) -> inspect.Parameter:
    flag = f"--{setting.name.replace('_', '-')}"
    kind: Any = bool | None if setting.kind == "bool" else str | None
    names = f"{flag}/{flag.replace('--', '--no-', 1)}" if setting.kind == "bool" else flag
    metavar = {"str": "TEXT", "int": "NUMBER", "float": "NUMBER", "bool": None}[setting.kind]
    default = f" Default: {setting.default}." if setting.default else ""
    option = typer.Option(names, metavar=metavar, help=setting.doc + default, show_default=False)
    return inspect.Parameter(
        setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )


def _text(given: Any) -> str | None:
    if isinstance(given, bool):
        return "true" if given else "false"
    return None if given is None else str(given)
