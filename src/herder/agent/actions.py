"""Jobs by name: what each asks of the driver, as one table."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from herder.agent import trash
from herder.agent.kept import kept_logs, size_of
from herder.model.errors import Conflict, InvalidInput
from herder.ports.driver import Driver, MemberSpec, Source, SyncSet

Args = dict[str, Any]
_T = TypeVar("_T")


class Bond(Enum):
    """What a job does to the lease that its member runs under. A stop keeps it: what is started later is bound too."""

    KEEPS = "keeps"
    REVIVES = "revives"  # it starts an engine: under a lease only by a fresh word
    ENDS = "ends"  # the member becomes a standby
    SETS = "sets"


@dataclass(frozen=True, slots=True)
class Action:
    """One job. restarts: it starts or ends engine processes itself, so an engine's end during it is no surprise.

    leaves: after it the member is not looked after any more.
    """

    run: Callable[[Driver, MemberSpec, Args], Awaitable[Any]]
    restarts: bool
    leaves: bool = False
    bond: Bond = Bond.KEEPS


def argument(args: Args, name: str, kind: type[_T]) -> _T:
    """One argument as its type. Raises InvalidInput."""
    if name not in args:
        raise InvalidInput(f"the job lacks '{name}'")
    try:
        return msgspec.convert(args[name], kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the job's '{name}' is not usable: {error}") from None


async def _create_primary(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    return await driver.create_primary(spec, argument(args, "sync", SyncSet))


async def _create_standby(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    return await driver.create_standby(spec, argument(args, "source", Source))


async def _start(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    return await driver.start(spec)


async def _stop(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    return await driver.stop(spec, fast=argument(args, "fast", bool) if "fast" in args else True)


async def _drain(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    how = await driver.stop(spec, fast=True)
    return {"how": how, "rest": await driver.rest(spec)}


async def _restart(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    """Always stopped cleanly: what runs ends sooner by a shutdown checkpoint than by redo, and what does not, is gone."""
    await driver.stop(spec, fast=True)
    return await driver.start(spec)


async def _pledge(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    return await driver.pledge(spec)


async def _promote(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    return await driver.promote(spec, argument(args, "sync", SyncSet))


async def _follow(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    return await driver.follow(spec, argument(args, "source", Source))


async def _set_sync(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    return await driver.set_sync(spec, argument(args, "sync", SyncSet))


async def _rejoin(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    """What it kept of its divergent log is told with its size: it may hold the only copy of acknowledged writes."""
    before = set(kept_logs(spec))
    how = await driver.rejoin(spec, argument(args, "source", Source))
    kept = sorted(set(kept_logs(spec)) - before)
    sizes = {str(path): await asyncio.to_thread(size_of, path) for path in kept}
    return {"how": how, "kept": sizes}


async def _checkpoint(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    return await driver.checkpoint(spec)


async def _failover_to(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    move = getattr(driver, "failover_to", None)
    if move is None:
        raise InvalidInput(f"{driver.engine} has no planned failover of its own")
    rest = {name: value for name, value in args.items() if name != "source"}
    return await move(spec, argument(args, "source", Source), **rest)


async def _destroy(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    where = Path(argument(args, "trash", str))
    how = await driver.stop(spec, fast=True)
    left = await driver.leftovers(spec)
    if left:
        raise Conflict(f"processes {left} still have {spec.data_dir}", "ask again; fence the server if they stay")
    moved = await asyncio.to_thread(trash.move_aside, Path(spec.data_dir), where)
    return {"stopped": how, "moved": moved}


async def _forget(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    left = await driver.leftovers(spec)
    if left:
        raise Conflict(f"{spec.member} still runs ({left})", "stop it first: an engine that nobody watches is a danger")


async def _lease(driver: Driver, spec: MemberSpec, args: Args) -> Any:
    """The lease itself is not the engine's business: what is told is what holds now."""
    return argument(args, "lease_s", float)


ACTIONS: dict[str, Action] = {
    "create_primary": Action(_create_primary, restarts=True, bond=Bond.ENDS),
    "create_standby": Action(_create_standby, restarts=True, bond=Bond.ENDS),
    "start": Action(_start, restarts=True, bond=Bond.REVIVES),
    "stop": Action(_stop, restarts=True),
    "drain": Action(_drain, restarts=True),
    "restart": Action(_restart, restarts=True, bond=Bond.REVIVES),
    "rejoin": Action(_rejoin, restarts=True, bond=Bond.ENDS),
    "destroy": Action(_destroy, restarts=True, leaves=True),
    "forget": Action(_forget, restarts=False, leaves=True),
    # it starts a standby that does not run, to see how far it reaches
    "pledge": Action(_pledge, restarts=True, bond=Bond.ENDS),
    "promote": Action(_promote, restarts=False),
    "follow": Action(_follow, restarts=False, bond=Bond.ENDS),
    "set_sync": Action(_set_sync, restarts=False),
    "checkpoint": Action(_checkpoint, restarts=False),
    "failover_to": Action(_failover_to, restarts=False),
    # a lease that has run out ends the engine before it is given back
    "lease": Action(_lease, restarts=True, bond=Bond.SETS),
}
