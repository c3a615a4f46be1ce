"""The agent's own wiring: `python -m herder.agent.main <server directory>`.

It watches first and joins second: with no control plane in reach its engines are looked after all the same. SIGTERM ends
it and leaves engines running.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import signal
import sys
from pathlib import Path

import msgspec

from herder.agent.drivers import Drivers, Factory
from herder.agent.jobs import Jobs
from herder.agent.kept import keep_house
from herder.agent.ledger import Ledger, write_durably
from herder.agent.pulse import Pulser
from herder.agent.supervise import Supervisor
from herder.model.errors import UNREADABLE, Conflict, Environment, HerderError, Refused, Unreachable
from herder.ports.provider import Launch
from herder.wire.credentials import User, new_user_seed
from herder.wire.nats import NatsAgentWire, join

log = logging.getLogger(__name__)

JOIN_RETRY_S = 1.0


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent keeps 0600: its seed, made before it joins, and its JWT after. joined_with: hash of the token."""

    server: str
    seed: str
    jwt: str = ""
    joined_with: str = ""


def read_launch(home: Path) -> Launch:
    """What the provider wrote for this agent. Raises Environment."""
    path = home / "agent" / "launch.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Launch)
    except OSError as error:
        raise Environment(f"{path} cannot be read: {error.strerror}", "start agents through their provider") from None
    except UNREADABLE as error:
        raise Environment(f"{path} is not usable: {error}", "start agents through their provider") from None


def hold_alone(home: Path) -> int:
    """Lock the server's directory for this process's life: two agents would break each other's promises.

    Returns the lock's descriptor. Raises Conflict.
    """
    handle = os.open(home / "agent" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise Conflict(f"another agent runs for {home}", "end it first") from None
    return handle


async def enrol(launch: Launch, home: Path) -> User:
    """The agent's user: the one it has, or a new one for its join token. Waits for a controller as long as it takes.

    Raises Refused when the token is spent or wrong and there is no older user to go on with.
    """
    path = home / "agent" / "membership.json"
    kept = _kept_membership(path, launch.server)
    token_hash = hashlib.sha256(launch.join_token.encode()).hexdigest()
    if kept.jwt and (not launch.join_token or kept.joined_with == token_hash):
        return User(kept.jwt, kept.seed)
    # The seed is on disk before the token is spent: an answer that is lost can be asked for again with the same key.
    write_durably(path, msgspec.json.encode(kept))
    while True:
        try:
            user = await join(launch.nats_url, launch.join_token, launch.server, launch.incarnation, kept.seed)
        except Unreachable as error:
            log.warning("cannot join yet: %s", error)
            await asyncio.sleep(JOIN_RETRY_S)
        except Refused as error:
            if not kept.jwt:
                raise
            log.warning("cannot join again, going on as before: %s", error)
            return User(kept.jwt, kept.seed)
        else:
            write_durably(
                path, msgspec.json.encode(msgspec.structs.replace(kept, jwt=user.jwt, joined_with=token_hash))
            )
            return user


async def run(home: Path, factory: Factory | None = None) -> None:
    """Be the agent of the server in `home` until SIGTERM or SIGINT. factory: other engines than herder's own."""
    launch = read_launch(home)
    lock = hold_alone(home)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    ledger = Ledger(home / "agent" / "ledger.json")
    if ledger.broken:
        log.error("%s", ledger.broken)
    drivers = Drivers(home, launch.engine_user, launch.settings, factory)
    supervisor = Supervisor(ledger, drivers, lambda: pulser.nudge())  # noqa: PLW0108  the pulser needs the supervisor first
    pulser = Pulser(launch, home, supervisor, ledger)
    jobs = Jobs(launch.server, launch.incarnation, ledger, drivers, supervisor)
    log.info("agent of %s, incarnation %d, pid %d", launch.server, launch.incarnation, os.getpid())

    supervisor.adopt()
    beating = asyncio.create_task(pulser.run(), name="pulse")
    speaking = asyncio.create_task(_speak(launch, home, pulser, jobs), name="wire")
    tidying = asyncio.create_task(keep_house(supervisor.specs), name="kept logs")
    stopping: asyncio.Task[object] = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({beating, speaking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (beating, speaking):
            if task.done():
                task.result()  # neither ends by itself: what ended it is raised here
    finally:
        log.info("agent of %s ends; its engines go on", launch.server)
        stopping.cancel()
        beating.cancel()
        speaking.cancel()
        tidying.cancel()
        await asyncio.gather(beating, speaking, tidying, stopping, return_exceptions=True)
        await jobs.close()
        supervisor.close()
        await drivers.close()
        ledger.close()
        os.close(lock)


async def _speak(launch: Launch, home: Path, pulser: Pulser, jobs: Jobs) -> None:
    user = await enrol(launch, home)
    wire = NatsAgentWire(launch.nats_url, launch.server, user, on_up=pulser.nudge)
    try:
        await wire.serve(jobs.handle)  # before connecting, so that whoever sees the first pulse can ask at once
        pulser.wire = wire
        await wire.connect()
        await asyncio.Event().wait()
    finally:
        pulser.wire = None
        await wire.close()


def _kept_membership(path: Path, server: str) -> Membership:
    with contextlib.suppress(FileNotFoundError, *UNREADABLE):
        kept = msgspec.json.decode(path.read_bytes(), type=Membership)
        if kept.server == server:
            return kept
    return Membership(server=server, seed=new_user_seed())


def main() -> int:
    """Exit codes are those of model.errors."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if len(sys.argv) != 2:
        log.error("usage: python -m herder.agent.main <server directory>")
        return 2
    try:
        asyncio.run(run(Path(sys.argv[1])))
    except HerderError as error:
        log.error("%s%s", error.message, f" ({error.hint})" if error.hint else "")  # noqa: TRY400  for people, no trace
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
