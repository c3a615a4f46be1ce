"""New clusters by copying one that was made beforehand: initdb costs 0.5-1.2 s, a copy with a fresh identity 0.1.

The template of a major is made once on a machine, whichever agent needs it first: under a lock, in a directory of its
own, renamed into place when it is whole and durable. It holds a database and user with placeholder names; renaming them
in the copy is two catalog rows, where CREATE DATABASE copies 7 MB.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from pathlib import Path

from herder.drivers.postgres import config, layout
from herder.drivers.postgres.control import read_control, renew_identity
from herder.drivers.processes import POLL_S, Account, in_thread, run

PLACEHOLDER = "herder_placeholder"
"""Name of the template's database and of the user who owns it."""

LOCK_TIMEOUT_S = 60.0
"""Another agent's initdb takes about a second; a minute means that machine is in trouble."""

_ZEROS = bytes(256 * 1024)

REVISION = 1
"""Counts what templates are made of: a herder that makes them otherwise does not use an older one's."""

_ROLES = f"""
CREATE ROLE {config.REPLICATION} LOGIN REPLICATION;
CREATE ROLE {PLACEHOLDER} LOGIN;
CREATE DATABASE {PLACEHOLDER} OWNER {PLACEHOLDER} STRATEGY file_copy;
"""


def _try_lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


async def _lock(path: Path) -> int:
    """An exclusive flock; the kernel lets go of it when its holder dies, however it dies."""
    async with asyncio.timeout(LOCK_TIMEOUT_S):
        while (descriptor := _try_lock(path)) is None:  # noqa: ASYNC110  another process holds it; nothing tells us
            await asyncio.sleep(POLL_S * 4)
    return descriptor


async def ensure(bin_dir: Path, major: int, root: Path, account: Account) -> Path:
    """The template of a major below `root`, made when it is not there. Also safe between agents."""
    target = root / f"postgres-{major}-{REVISION}"
    if (target / "nonce").exists():
        return target
    root.mkdir(parents=True, exist_ok=True)
    descriptor = await _lock(root / f".postgres-{major}.lock")
    try:
        if not (target / "nonce").exists():
            await _build(bin_dir, target, account)
    finally:
        os.close(descriptor)
    return target


async def _build(bin_dir: Path, target: Path, account: Account) -> None:
    half = target.with_name(target.name + ".half")
    for rubbish in (half, target):
        shutil.rmtree(rubbish, ignore_errors=True)
    account.make_dir(half)
    data = half / "data"
    account.make_dir(data)
    # The builtin C.UTF-8 locale: no change of the system's collations can ever corrupt an index (failure 55).
    await run(
        [
            str(bin_dir / "initdb"), "-D", str(data), "--no-sync", "--data-checksums", "--encoding=UTF8",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
            f"--username={config.ADMIN}", "--auth=reject", "--no-instructions",
        ],
        account=account, cwd=half, timeout_s=60,
    )  # fmt: skip
    statements = half / "roles.sql"
    layout.write(statements, "".join(f"{line}\n" for line in _ROLES.strip().splitlines()), account)
    await _single_user(bin_dir, data, statements, account)
    control = await read_control(bin_dir, data, account, half)
    await in_thread(layout.sync_tree, data)
    layout.write(half / "nonce", control.nonce, account)
    layout.move(half, target)


async def _single_user(bin_dir: Path, data: Path, statements: Path, account: Account) -> None:
    """Run statements without a server: one process, no port, no password. It stops cleanly at the end of the file."""
    script = 'exec "$0" --single -F -D "$1" postgres < "$2"'
    await run(
        ["/bin/sh", "-c", script, str(bin_dir / "postgres"), str(data), str(statements)],
        account=account, cwd=statements.parent, timeout_s=60,
    )  # fmt: skip


def _copy_file(source: str, target: str, account: Account) -> None:
    """Copy a small file. Blocks of zeros are left as a hole: most of the template's 16 MB of WAL."""
    reader = os.open(source, os.O_RDONLY)
    writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        size = 0
        while chunk := os.read(reader, len(_ZEROS)):
            if chunk != _ZEROS:
                os.pwrite(writer, chunk, size)
            size += len(chunk)
        os.ftruncate(writer, size)
        if account.uid is not None and account.gid is not None:
            os.fchown(writer, account.uid, account.gid)
    finally:
        os.close(reader)
        os.close(writer)


def _copy_tree(source: Path, target: Path, account: Account) -> None:
    """Copy a stopped cluster as its owner's. Measured as quick as cp, and it is without a process more."""
    for directory, names, files in os.walk(source):
        to = f"{target}{directory.removeprefix(str(source))}"
        for name in names:
            os.mkdir(f"{to}/{name}", 0o700)  # noqa: PTH102  strings are quicker
            account.own(Path(to, name))
        for name in files:
            _copy_file(f"{directory}/{name}", f"{to}/{name}", account)


async def clone(template: Path, target: Path, account: Account) -> int:
    """Copy a template to `target` (made afresh) with an identity of its own; returns its system identifier.

    Not durable yet: the caller writes its configuration, then calls `layout.sync_tree` once.
    """
    if target.exists():
        shutil.rmtree(target)
    account.make_dir(target)
    await in_thread(_copy_tree, template / "data", target, account)
    return renew_identity(target, bytes.fromhex((template / "nonce").read_text()))
