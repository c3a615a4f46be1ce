"""The schema, brought up to date step by step: each migration is one transaction, and two starters take turns."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any

import msgspec

from herder.model.errors import Environment, NewerData
from herder.stores.postgres.named import QUERIES

OLDEST_SERVER = 15
"""Major version of PostgreSQL."""

MIGRATE_S = 600.0
"""Seconds for one migration, or to wait for the starter that is running it."""


class Migration(msgspec.Struct, frozen=True):
    """One file of migrations/: `0001_name.sql`. checksum: sha-256 of its text, hex."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known() -> tuple[Migration, ...]:
    """Every migration that this herder has, in order, without holes."""
    folder = resources.files(__package__) / "migrations"
    found = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, file.read_text()))
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError("migrations must be numbered from 1 without holes")
    return tuple(found)


async def migrate(connection: Any, migrations: tuple[Migration, ...]) -> int:
    """Apply what is missing; returns the version. Raises NewerData (and changes nothing) or Environment."""
    major = connection.get_server_version().major
    if major < OLDEST_SERVER:
        raise Environment(
            f"the store's PostgreSQL is version {major}", f"herder needs {OLDEST_SERVER} or later for its state"
        )
    while await _apply_next(connection, migrations):
        pass
    return len(migrations)


async def _apply_next(connection: Any, migrations: tuple[Migration, ...]) -> bool:
    """One migration under the lock; False when there is none left. What is applied is read under the lock, so that a
    starter that had to wait sees what the other one did.
    """
    async with connection.transaction():
        await connection.execute(QUERIES["take_your_time"])
        await connection.execute(QUERIES["migration_lock"], timeout=MIGRATE_S)
        applied = []
        if await connection.fetchval(QUERIES["has_schema"]):
            applied = await connection.fetch(QUERIES["applied_migrations"])
        _compare(applied, migrations)
        if len(applied) == len(migrations):
            return False
        migration = migrations[len(applied)]
        await connection.execute(QUERIES["bootstrap"])
        await connection.execute(migration.sql, timeout=MIGRATE_S)
        await connection.execute(QUERIES["record_migration"], migration.version, migration.name, migration.checksum)
        return True


def _compare(applied: list[Any], migrations: tuple[Migration, ...]) -> None:
    """Raise unless what was applied is the beginning of what is known."""
    newest = max((row["version"] for row in applied), default=0)
    if newest > len(migrations):
        raise NewerData(
            f"the store's schema is version {newest}, this herder knows {len(migrations)}",
            "run the newer herder that wrote it, or restore a backup from before that upgrade",
        )
    for row, migration in zip(applied, migrations, strict=False):
        if (row["version"], row["checksum"]) != (migration.version, migration.checksum):
            raise Environment(
                f"migration {row['version']} ({row['name']}) was applied with another text than this herder has",
                "the database was written by a changed build; run that one, or restore a backup",
            )
