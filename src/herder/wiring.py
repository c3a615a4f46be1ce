"""The one control-plane file that names concrete adapters: settings in, a serving control plane out."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import random
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from herder.api.server import serve
from herder.assembly import ControlPlane, Parts
from herder.drivers import binaries
from herder.drivers.postgres import spares
from herder.drivers.postgres.probe import probe as probe_postgres
from herder.drivers.processes import Account
from herder.drivers.valkey.probe import probe as probe_valkey
from herder.model.errors import Environment, HerderError, Refused, Unreachable
from herder.ports.driver import Probe
from herder.ports.provider import Ground
from herder.providers.local import LocalProvider
from herder.settings import Resolved
from herder.stores.postgres.own import OwnPostgres
from herder.stores.postgres.store import PostgresStore
from herder.wire.credentials import Authority, new_keys
from herder.wire.nats import NatsWire
from herder.wire.own import OwnNats, trust

log = logging.getLogger("herder")

Settings = Mapping[str, Resolved]

_PROBES: dict[str, Probe] = {"postgres": probe_postgres, "valkey": probe_valkey}


class SystemClock:
    """ports.clock.Clock."""

    def now_ms(self) -> int:
        """See the port."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """See the port."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See the port."""
        await asyncio.sleep(seconds)


class SystemRandom:
    """ports.clock.Random."""

    def token(self, nbytes: int) -> str:
        """See the port."""
        return secrets.token_urlsafe(nbytes)

    def jitter(self, ceiling_s: float) -> float:
        """See the port."""
        return random.uniform(0.0, ceiling_s)  # noqa: S311  spreads retries, guards nothing


@dataclass(frozen=True, slots=True)
class EngineUser:
    """Whom engines and herder's own servers run as. None where herder is not root: as ourselves."""

    name: str
    uid: int | None
    gid: int | None

    @classmethod
    def of(cls, name: str) -> EngineUser:
        """Raises Environment when root names an unknown user or root itself."""
        if os.geteuid() != 0:
            return cls(name, None, None)
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise Environment(
                f"there is no user '{name}' to run engines as", "set engine_user (HERDER_ENGINE_USER)"
            ) from None
        if entry.pw_uid == 0:
            raise Environment("engines never run as root", "set engine_user to an unprivileged user")
        return cls(name, entry.pw_uid, entry.pw_gid)


async def probe(engine: str, address: str, port: int, timeout_s: float) -> str:
    """The controller's own look at an engine."""
    return await _PROBES[engine](address, port, timeout_s)


async def run(settings: Settings, ready: Callable[[], None]) -> None:
    """Build everything, serve until cancelled. Agents and engines go on when this ends."""
    async with AsyncExitStack() as stack:
        plane, nats, store = await _build(settings, stack)
        await plane.open()
        socket_path = str(_directory(settings) / "run" / "herder.sock")
        async with asyncio.TaskGroup() as group:
            group.create_task(plane.run(), name="control plane")
            if nats is not None:
                group.create_task(nats.keep(), name="nats-server")
            if store is not None:
                group.create_task(store.keep(), name="store")
            group.create_task(_keep_spares(settings, plane), name="spares")
            group.create_task(serve(plane.control, socket_path, str(settings["listen"].value), ready), name="api")


async def _build(settings: Settings, stack: AsyncExitStack) -> tuple[ControlPlane, OwnNats | None, OwnPostgres | None]:
    """The control plane, and which of its own servers it is to keep running."""
    user = EngineUser.of(str(settings["engine_user"].value))
    directory = _directory(settings)
    _check_programs(settings, user)
    provider = _provider(settings)
    stack.push_async_callback(provider.close)
    ground = await provider.ground()
    if ground.why_not:
        log.warning("servers are addresses in %s, not namespaces: %s", ground.subnet, ground.why_not)
    store, own_store = await _store(settings, user)
    stack.push_async_callback(store.close)
    await store.migrate()
    keys = await store.put_secret("nats_keys", new_keys(int(time.time())))
    own_nats = None
    nats_url = str(settings["nats_url"].value)
    if not nats_url:
        own_nats = _own_nats(settings, directory, keys, ground, user)
        nats_url = await own_nats.ensure()
    wire = NatsWire(nats_url, keys)
    stack.push_async_callback(wire.close)
    if own_nats is None:
        await _connect_to_theirs(wire, directory, keys)
    else:
        await wire.connect()
    await wire.serve_joins(store.use_join_token)
    await provider.recover()

    async def mint_join(server: str, incarnation: int) -> str:
        text, digest = wire.join_token(secrets.token_urlsafe(32))
        await store.add_join_token(digest, server, incarnation)
        return text

    parts = Parts(
        store=store, wire=wire, provider=provider, clock=SystemClock(), chance=SystemRandom(), probe=probe,
        mint_join=mint_join, nats_url=nats_url, engine_user=user.name, subnet_prefix=_prefix(ground),
        agent_settings=_agent_settings(settings, directory), settings=[resolved.facts() for resolved in settings.values()],
        **{name: settings[name].value for name in _TUNED},
    )  # fmt: skip
    return ControlPlane(parts, owner=f"{socket.gethostname()}:{directory}"), own_nats, own_store


async def _keep_spares(settings: Settings, plane: ControlPlane) -> None:
    """Empty clusters made ahead of demand, while nothing else is going on: a create is then a rename and a start."""
    root = _directory(settings) / "templates"
    dirs = binaries.postgres_dirs(str(settings["postgres_bin"].value))
    account = Account.named(str(settings["engine_user"].value))
    while True:
        if not plane.effects.busy():
            try:
                await spares.stock(dirs[max(dirs)], max(dirs), root, account, SPARES)
            except (HerderError, OSError) as error:
                log.warning("no spare cluster could be made: %s", error)
        await asyncio.sleep(SPARES_PAUSE_S)


SPARES = 2
SPARES_PAUSE_S = 2.0
"""40 MB of disk each. Looked at every two seconds: a burst of creates falls back to copying."""


async def _connect_to_theirs(wire: NatsWire, directory: Path, keys: str) -> None:
    """A NATS that is not ours must be told to trust us: what it needs is written down, and said when it lets us not in."""
    needed = directory / "nats-trust.conf"
    needed.write_text(trust(Authority(keys)), encoding="ascii")
    try:
        await wire.connect()
    except Unreachable as error:
        raise Unreachable(
            f"NATS at {wire.url}: {error.message}",
            f"does it run, and does its configuration `include` what stands in {needed}? (public statements, no secret)",
        ) from error
    if not wire.guarded:
        raise Refused(
            f"NATS at {wire.url} lets everybody in, so any agent could speak for any server",
            f"`include` what stands in {needed} in its configuration (public statements, no secret)",
        )


_TUNED = (
    "pulse_interval_s", "silence_floor_s", "silence_ceiling_s", "probe_timeout_s", "failovers_per_hour", "lease_s",
    "on_isolation", "exercise_plans", "exercises_at_once", "log_retention_days",
)  # fmt: skip


def _directory(settings: Settings) -> Path:
    return Path(str(settings["dir"].value))


def _check_programs(settings: Settings, user: EngineUser) -> None:
    """Say at start what is missing or may not be executed, rather than at the first create."""
    for bin_dir in binaries.postgres_dirs(str(settings["postgres_bin"].value)).values():
        binaries.check_executable(bin_dir / "postgres", user.uid, user.gid)
    binaries.check_executable(binaries.valkey_server(str(settings["valkey_bin"].value)), user.uid, user.gid)


def _provider(settings: Settings) -> LocalProvider:
    return LocalProvider(
        _directory(settings), subnet=str(settings["subnet"].value), fencing=bool(settings["fencing"].value)
    )


async def _store(settings: Settings, user: EngineUser) -> tuple[PostgresStore, OwnPostgres | None]:
    url = str(settings["database_url"].value)
    if url:
        return PostgresStore(url), None
    own = _own_postgres(settings, user)
    return PostgresStore(**await own.start()), own


def _own_postgres(settings: Settings, user: EngineUser) -> OwnPostgres:
    dirs = binaries.postgres_dirs(str(settings["postgres_bin"].value))
    return OwnPostgres(_directory(settings), dirs[max(dirs)], uid=user.uid, gid=user.gid)


def _own_nats(settings: Settings, directory: Path, keys: str, ground: Ground, user: EngineUser) -> OwnNats:
    binary = binaries.nats_server(str(settings["nats_bin"].value))
    return OwnNats(str(binary), directory, keys, host=ground.controller_address, user=user.name)


def _prefix(ground: Ground) -> str:
    """'10.77.3.0/24' -> '10.77.3.'"""
    return ground.subnet.rpartition(".")[0] + "."


def _agent_settings(settings: Settings, directory: Path) -> dict[str, str]:
    names = ("pulse_interval_s", "postgres_bin", "valkey_bin")
    found = {name: str(settings[name].value) for name in names}
    return found | {"template_dir": str(directory / "templates")}


async def tear_down(settings: Settings, *, servers: bool) -> dict[str, Any]:
    """End what a controller left running: its NATS and its own PostgreSQL; with `servers`, every server of the directory."""
    user = EngineUser.of(str(settings["engine_user"].value))
    directory = _directory(settings)
    ended: dict[str, Any] = {"servers": 0}
    if servers:
        provider = _provider(settings)
        ended["servers"] = await provider.tear_down()
        await provider.close()
    if not settings["nats_url"].value:
        binary = binaries.nats_server(str(settings["nats_bin"].value))
        await OwnNats(str(binary), directory, new_keys(int(time.time())), user=user.name).stop()
    if not settings["database_url"].value:
        await _own_postgres(settings, user).stop()
    return ended
