"""`herder up` and `herder down`: the control plane of one directory. Data services outlive both, unless told otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from herder.cli import options, say
from herder.cli.client import Client
from herder.cli.flags import typed_again, with_settings
from herder.directory import Directory
from herder.model.errors import BY_CODE, Environment, HerderError, Refused, TimedOut, Unreachable
from herder.settings import Resolved, resolve

STOP_S = 20.0
"""Seconds a controller may take to end: its HTTP drains for one, its last record commits in milliseconds."""

TAIL_LINES = 15

PARTING = (
    "The control plane has stopped. Services and their agents keep serving.\n"
    "  herder up              takes over again where it was\n"
    "  herder down --servers  ends the services too"
)


@with_settings
def up(
    *,
    flags: dict[str, str],
    config: options.Config = "",
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background; logs to DIR/herder.log.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="With --detach: how long it may take.")] = 60.0,
    as_json: options.Json = False,
) -> None:
    """Start the control plane of a directory and serve until Ctrl-C. Started again, it resumes where it was."""
    settings = resolve(flags, config=config)
    directory = Directory(Path(settings["dir"].value))
    directory.prepare(settings["engine_user"].value)
    if detach:
        _in_background(directory, flags, config, timeout, as_json=as_json)
        return
    with directory.held():
        _serve(directory, settings, as_json=as_json)


@with_settings
def down(
    *,
    flags: dict[str, str],
    config: options.Config = "",
    servers: Annotated[
        bool, typer.Option("--servers", help="End all servers and services of this directory too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --servers: do not ask.")] = False,
    as_json: options.Json = False,
) -> None:
    """Stop the control plane, its NATS and its own PostgreSQL. Services keep serving, unless --servers."""
    settings = resolve(flags, config=config)
    directory = Directory(Path(settings["dir"].value))
    if not directory.path.is_dir():
        raise Unreachable(f"there is no {directory.path}", "name the directory with --dir (HERDER_DIR)")
    if servers and not yes:
        _ask_to_end(directory)
    pid = directory.controller()
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    with directory.held(STOP_S):
        from herder.wiring import tear_down

        _run(tear_down(settings, servers=servers))
    if as_json:
        say.as_json({"stopped": bool(pid), "pid": pid or None, "servers": servers, "dir": str(directory.path)})
        return
    print(f"The control plane (pid {pid}) has stopped." if pid else "No control plane was running.")
    print("Its servers and services were ended; their data is kept." if servers else "Services keep serving.")


def _ask_to_end(directory: Directory) -> None:
    if not sys.stdin.isatty():
        raise Refused("--servers ends every service of this directory", "add --yes when that is meant")
    say.note(f"This ends every server and every service of {directory.path}. Their data is kept.")
    if not typer.confirm("End them?", err=True):
        raise Refused("nothing was ended")


def _serve(directory: Directory, settings: dict[str, Resolved], *, as_json: bool) -> None:
    """The controller in this process, until a signal. Imports late: the control plane is a second of imports."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.captureWarnings(capture=True)
    began = time.monotonic()
    if not as_json:
        print(f"herder starts in {directory.path} …", flush=True)
    from herder.wiring import run

    def ready() -> None:
        if as_json:
            say.as_json(_facts(directory, settings, os.getpid()))
            return
        print(f"herder is up after {time.monotonic() - began:.1f} s (pid {os.getpid()}). Ctrl-C stops it.")
        _tell_where(directory, settings)

    _run(run(settings, ready), until_signal=True)
    if not as_json:
        print(f"\n{PARTING}", flush=True)


def _run(work: Coroutine[Any, Any, Any], *, until_signal: bool = False) -> None:
    """Run on uvloop. SIGINT and SIGTERM cancel it, which is how it is meant to end."""
    import uvloop

    async def watched() -> None:
        task = asyncio.ensure_future(work)
        told: list[int] = []

        def stop(number: int) -> None:
            told.append(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM) if until_signal else ():
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
        try:
            await task
        except asyncio.CancelledError:
            if not told:
                raise
        except BaseExceptionGroup as group:
            # The controller's tasks end together; the operating error among them is what a person must read.
            told_of, _ = group.split(HerderError)
            if told_of is None:
                raise
            raise _first(told_of) from None

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(watched())


def _first(group: BaseExceptionGroup[HerderError]) -> HerderError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError


def _in_background(
    directory: Directory, flags: dict[str, str], config: str, timeout_s: float, *, as_json: bool
) -> None:
    """Start `herder up` anew in a session of its own and wait until it answers or ends."""
    with directory.held():
        pass  # raises Conflict here, in words, rather than in the log
    log_from = directory.log.stat().st_size if directory.log.exists() else 0
    # It stays in our working directory, since paths among the flags may be relative; -P: no modules from there.
    words = [sys.executable, "-P", "-m", "herder.cli.main", "up", f"--dir={directory.path}"]
    words += typed_again({name: text for name, text in flags.items() if name != "dir"})
    words += [f"--config={Path(config).absolute()}"] if config else []
    environment = dict(os.environ) | {"PYTHONUNBUFFERED": "1"}
    if flags.get("database_url"):
        environment["HERDER_DATABASE_URL"] = flags["database_url"]
    log = os.open(directory.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    finally:
        os.close(log)
    _await_answer(process, directory, log_from, timeout_s)
    settings = resolve(flags, config=config)
    if as_json:
        say.as_json(_facts(directory, settings, process.pid))
        return
    print(f"herder is up (pid {process.pid}) and logs to {directory.log}.")
    _tell_where(directory, settings)


def _await_answer(process: subprocess.Popen[bytes], directory: Directory, log_from: int, timeout_s: float) -> None:
    client = Client(directory.socket)
    give_up = time.monotonic() + timeout_s
    while not client.alive():
        code = process.poll()
        if code is not None:
            raise _as_it_ended(code, directory, log_from)
        if time.monotonic() > give_up:
            say.note(_tail(directory.log, log_from))
            raise TimedOut(
                f"the control plane (pid {process.pid}) does not answer after {timeout_s:g} s; it goes on starting",
                f"look at {directory.log}; `herder down` stops it",
            )
        time.sleep(0.05)


def _as_it_ended(code: int, directory: Directory, log_from: int) -> HerderError:
    """The error of the process that ended, of the kind that its exit code says, with the last lines of its log."""
    say.note(_tail(directory.log, log_from))
    kinds = {kind.exit_code: kind for kind in BY_CODE.values()}
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return kinds.get(code, Environment)(f"the control plane did not start ({how})", f"all of it is in {directory.log}")


def _tail(log: Path, begin: int) -> str:
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read()[-16_000:].decode("utf-8", "replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])


def _facts(directory: Directory, settings: dict[str, Resolved], pid: int) -> dict[str, Any]:
    return {"pid": pid, "dir": str(directory.path), "socket": str(directory.socket), "listen": settings["listen"].value}


def _tell_where(directory: Directory, settings: dict[str, Resolved]) -> None:
    where = "" if settings["dir"].source == "default" else f" --dir {directory.path}"
    if settings["listen"].value:
        print(f"HTTP on {settings['listen'].value}; its token is in {directory.socket.with_name('token')}")
    print(f"  herder create postgres mydb --plan premium --wait{where}", flush=True)
