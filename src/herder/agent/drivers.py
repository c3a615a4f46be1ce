"""The engines an agent can run. Imported when the first member of that engine comes, to keep an idle agent small."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import cast

from herder.drivers import binaries
from herder.drivers.processes import Account
from herder.model.errors import Environment, InvalidInput
from herder.ports.driver import Driver, Probe

log = logging.getLogger(__name__)

Factory = Callable[[str], Driver]

ENGINES = ("postgres", "valkey")


class Drivers:
    """One driver an engine, made at its first use. `factory` replaces the engines (an agent of another product).

    settings used: postgres_bin, valkey_bin, template_dir (where templates of new clusters lie, best one directory for
    all servers of a machine; empty: `<home>/templates`).
    """

    def __init__(
        self, home: Path, engine_user: str, settings: Mapping[str, str], factory: Factory | None = None
    ) -> None:
        self._home = home
        self._engine_user = engine_user
        self._settings = settings
        self._factory = factory or self._make
        self._made: dict[str, Driver] = {}

    def of(self, engine: str) -> Driver:
        """The driver of an engine. Raises InvalidInput (unknown), Environment (its programs are missing)."""
        if engine not in self._made:
            self._made[engine] = self._factory(engine)
        return self._made[engine]

    def probe(self, engine: str) -> Probe:
        """The engine's look from outside. Raises InvalidInput."""
        return cast(Probe, _module(engine, "probe").probe)

    async def close(self) -> None:
        """Let go of connections; engines keep running."""
        for driver in self._made.values():
            try:
                async with asyncio.timeout(1.0):
                    await driver.close()
            except Exception:
                log.exception("closing the driver of %s", driver.engine)

    def _make(self, engine: str) -> Driver:
        module = _module(engine, "driver")
        account = Account.named(self._engine_user)
        binary = self._settings.get(f"{engine}_bin", "")
        if engine == "postgres":
            templates = Path(self._settings.get("template_dir") or self._home / "templates")
            return cast(Driver, module.PostgresDriver(binaries.postgres_dirs(binary), templates, account))
        return cast(Driver, module.ValkeyDriver(account, binary))


def _module(engine: str, name: str) -> ModuleType:
    if engine not in ENGINES:
        raise InvalidInput(f"this agent knows no engine '{engine}'", f"it knows {', '.join(ENGINES)}")
    try:
        return importlib.import_module(f"herder.drivers.{engine}.{name}")
    except ImportError as error:
        raise Environment(f"the driver of {engine} cannot be loaded: {error}", "install herder again") from error
