"""The wire over NATS: pulses are plain subjects, jobs request/reply, joins a queue that any controller serves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from nats.aio.msg import Msg

from herder.model.errors import UNREADABLE, HerderError, InvalidInput, Refused, Unreachable
from herder.ports.wire import Job, JobReply, JobStatus, Pulse
from herder.wire.credentials import (
    AGENT_TAG,
    Authority,
    JoinReply,
    JoinRequest,
    User,
    new_user_seed,
    public_key,
    read_join_token,
    secret_hash,
    user_name,
    valid_server,
    valid_user_key,
)
from herder.wire.feed import Feed
from herder.wire.frame import FrameError, decode_job, decode_pulse, decode_reply, encode, relay_of
from herder.wire.link import Link

log = logging.getLogger(__name__)

JOIN_LIFE_S = 24 * 3600
"""A join token's connection right ends after a day; the token itself is spent at its first use."""

JOBS_AT_ONCE = 256
"""Job messages an agent handles at a time; a runaway controller must not exhaust the server's memory."""

JOINS_REMEMBERED = 1024

CheckJoin = Callable[[str], Awaitable[tuple[str, int] | None]]


class _DisconnectClient(msgspec.Struct):
    jwt: str = ""


class _Disconnect(msgspec.Struct):
    """The part of `io.nats.server.advisory.v1.client_disconnect` that is used."""

    client: _DisconnectClient


class NatsWire:
    """The controller's side (ports.wire.Wire). `keys` is the control plane's secret from `credentials.new_keys`."""

    def __init__(self, url: str, keys: str) -> None:
        self.url = url
        self._authority = Authority(keys)
        self._me = secret_hash(new_user_seed())[:16]  # several controllers may share the account
        self._link = Link(url, self._authority.controller_user(), name="herder controller")
        self._system: Link | None = None
        self._feed: Feed | None = None
        self._echo_served = False
        self._joined: dict[str, tuple[str, JoinReply]] = {}
        self.refused: dict[str, int] = {}  # reason -> frames not taken

    async def connect(self, timeout_s: float = 5.0) -> None:
        """Open the link and wait for the first connection. Raises Unreachable; it goes on trying all the same."""
        self._link.open()
        await self._link.connected(timeout_s)

    @property
    def guarded(self) -> bool:
        """Does the server ask who connects? One that lets everybody in lets an agent speak for others."""
        client = self._link.client
        return client is not None and bool(client._server_info.get("auth_required"))  # noqa: SLF001  it has no public name

    async def subscribe_pulses(self, on_pulse: Callable[[Pulse, bytes], None]) -> None:
        """Frames whose server is not the subject's are counted and dropped: the subject is what NATS has checked."""

        async def take(message: Msg) -> None:
            try:
                pulse = decode_pulse(message.data)
            except FrameError as error:
                self._count(error.fault)
                return
            if message.subject.rpartition(".")[2] != pulse.server:
                self._count("impostor")
                return
            try:
                on_pulse(pulse, message.data)
            except Exception:
                log.exception("a pulse of %s could not be folded in", pulse.server)

        await self._link.subscribe("herder.pulse.*.*", take)

    async def subscribe_fleet(self, on_frame: Callable[[bytes], None]) -> None:
        """Frames whose relay is not the subject's are counted and dropped: the subject is what NATS has checked."""

        def take(subject: str, data: bytes) -> None:
            if subject.rpartition(".")[2] == str(relay_of(data)):
                on_frame(data)
            else:
                self._count("impostor")

        async def take_message(message: Msg) -> None:
            take(message.subject, message.data)

        if self.url.startswith("tls"):  # the feed speaks plain TCP only
            await self._link.subscribe("herder.fleet.*", take_message)
            return
        self._feed = Feed(self.url, self._authority.controller_user(), "herder.fleet.*", take)
        self._feed.open()
        await self._feed.up(5.0)

    async def subscribe_disconnects(self, on_gone: Callable[[str], None]) -> None:
        """Listens as a user of the system account, over a second connection."""

        async def take(message: Msg) -> None:
            try:
                who = msgspec.json.decode(message.data, type=_Disconnect).client
            except UNREADABLE:
                self._count("advisory")
                return
            name = user_name(who.jwt)  # not the connection's own name, which it may choose
            if name.startswith(AGENT_TAG):
                on_gone(name.removeprefix(AGENT_TAG))

        if self._system is None:
            self._system = Link(self.url, self._authority.system_user(), name="herder watcher")
            self._system.open()
        await self._system.subscribe(f"$SYS.ACCOUNT.{self._authority.account}.DISCONNECT", take)
        await self._system.connected(5.0)

    async def ask(self, job: Job, timeout_s: float) -> JobReply:
        """See ports.wire. An answer that does not decode is Unreachable too: nothing is known about the job."""
        if not valid_server(job.server):
            raise InvalidInput(f"'{job.server}' cannot be a server id")
        try:
            data = await self._link.request(f"herder.agent.{job.server}.job", encode(job), timeout_s)
            return decode_reply(data)
        except Unreachable as error:
            raise Unreachable(f"the agent of server {job.server} did not answer: {error.message}", error.hint) from None
        except FrameError as error:
            self._count(error.fault)
            raise Unreachable(f"the agent of server {job.server} answered what cannot be read: {error}") from None

    async def echo(self, timeout_s: float) -> bool:
        """A message to ourselves through the server: routing, not only the socket."""
        subject = f"herder.echo.{self._me}"
        if not self._echo_served:
            self._echo_served = True
            await self._link.subscribe(subject, _answer_same)
        try:
            return await self._link.request(subject, b"?", timeout_s) == b"?"
        except Unreachable:
            return False

    def join_token(self, secret: str) -> tuple[str, str]:
        """(token text for the agent, hash for the store). secret: fresh entropy, e.g. Random.token(32)."""
        text = self._authority.join_token(self.url, secret, int(time.time()) + JOIN_LIFE_S)
        return text, secret_hash(secret)

    async def serve_joins(self, check: CheckJoin) -> None:
        """Answer agents that join. check(secret hash) spends the token: (server, incarnation) once, then None."""

        async def take(message: Msg) -> None:
            reply = await self._join(message.data, check)
            with contextlib.suppress(Exception):  # the asker is gone; it will ask again with the same key
                await message.respond(msgspec.json.encode(reply))

        await self._link.subscribe("herder.join", take, queue="controllers")

    async def close(self) -> None:
        """Let go."""
        await self._link.close()
        if self._system is not None:
            await self._system.close()
        if self._feed is not None:
            await self._feed.close()

    async def _join(self, data: bytes, check: CheckJoin) -> JoinReply:
        try:
            request = msgspec.json.decode(data, type=JoinRequest)
        except UNREADABLE:
            return JoinReply(error="not a join request")
        if not valid_user_key(request.public_key) or not valid_server(request.server):
            return JoinReply(error="the join request's key or server id is malformed")
        spent = secret_hash(request.secret)
        known = self._joined.get(spent)
        if known is not None:
            # The answer may have been lost on its way: the same key gets it again, any other key is a second use.
            return known[1] if known[0] == request.public_key else JoinReply(error="the join token was used already")
        try:
            owner = await check(spent)
        except HerderError as error:
            return JoinReply(error=f"try again: {error.message}")
        if owner is None:
            return JoinReply(error="the join token is unknown or was used already")
        if owner != (request.server, request.incarnation):
            log.warning("a join token of %s was shown by %s", owner, (request.server, request.incarnation))
            return JoinReply(error="the join token belongs to another server or incarnation")
        reply = JoinReply(jwt=self._authority.agent_jwt(request.server, request.public_key))
        while len(self._joined) >= JOINS_REMEMBERED:
            self._joined.pop(next(iter(self._joined)))
        self._joined[spent] = (request.public_key, reply)
        return reply

    def _count(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1


class NatsAgentWire:
    """The agent's side (ports.wire.AgentWire). on_up: called after every (re)connect, to send a pulse at once."""

    def __init__(self, url: str, server: str, user: User, on_up: Callable[[], None] | None = None) -> None:
        self._server = server
        self._subject = f"herder.pulse.0.{server}"
        self._link = Link(url, user, name=f"agent {server}", inbox_prefix=f"_INBOX.{server}", on_up=on_up)
        self._answering: set[asyncio.Task[None]] = set()

    async def connect(self, timeout_s: float | None = None) -> None:
        """Begin to keep the link. With a timeout: wait for the first connection, Unreachable when there is none."""
        self._link.open()
        if timeout_s is not None:
            await self._link.connected(timeout_s)

    @property
    def refused(self) -> bool:
        """The server said no to these credentials: the control plane's keys have changed."""
        return self._link.refused

    async def publish_pulse(self, pulse: Pulse) -> None:
        """A frame that finds no connection is dropped: an old pulse delivered late would say nothing true."""
        client = self._link.client
        if client is None:
            return
        try:
            await client.publish(self._subject, encode(pulse))
        except FrameError as error:
            log.warning("pulse not sent: %s", error)
        except Exception as error:  # noqa: BLE001  whatever nats-py raises, the next frame will do
            log.debug("pulse not sent: %s", error)

    async def serve(self, handle: Callable[[Job], Awaitable[JobReply]]) -> None:
        """Answer jobs; each runs on its own, so that a slow one does not hold up a fence."""

        async def answer(message: Msg) -> None:
            reply = await _reply_to(message.data, handle)
            with contextlib.suppress(Exception):  # the link broke: the controller asks again with the same intent
                await message.respond(encode(reply))

        async def take(message: Msg) -> None:
            if len(self._answering) >= JOBS_AT_ONCE:
                busy = JobReply(intent="", status=JobStatus.REFUSED, error="the agent has too many jobs at once")
                await message.respond(encode(busy))
                return
            task = asyncio.create_task(answer(message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

        await self._link.subscribe(f"herder.agent.{self._server}.job", take)

    async def close(self) -> None:
        """Let go; jobs that still run are not answered."""
        for task in self._answering:
            task.cancel()
        await self._link.close()


class NatsRelayWire:
    """A relay's side (ports.wire.RelayWire). relay: the machine id of the server it runs on."""

    def __init__(self, url: str, relay: int, user: User) -> None:
        self._subject = f"herder.fleet.{relay}"
        self._link = Link(url, user, name=f"relay {relay}")

    async def connect(self, timeout_s: float) -> None:
        """Begin to keep the link and wait for the first connection. Raises Unreachable; it goes on trying all the same."""
        self._link.open()
        await self._link.connected(timeout_s)

    async def publish_fleet(self, frame: bytes) -> None:
        """A frame that finds no connection is dropped: the next one says everything again."""
        client = self._link.client
        if client is None:
            return
        try:
            await client.publish(self._subject, frame)
        except Exception as error:  # noqa: BLE001  whatever nats-py raises, the next frame will do
            log.debug("fleet frame not sent: %s", error)

    async def close(self) -> None:
        """Let go."""
        await self._link.close()


async def join(url: str, token: str, server: str, incarnation: int, seed: str, timeout_s: float = 5.0) -> User:
    """Spend a join token: the agent's user for `seed`. Raises Refused (for good) or Unreachable (try again).

    The seed is made and kept by the caller before this, so that an answer lost on its way can be asked for again.
    """
    opened = read_join_token(token)
    link = Link(url or opened.nats_url, User(opened.jwt, ""), name=f"join {server}", inbox_prefix=opened.inbox)
    link.open()
    try:
        request = JoinRequest(server, incarnation, opened.secret, public_key(seed))
        data = await link.request("herder.join", msgspec.json.encode(request), timeout_s)
        reply = msgspec.json.decode(data, type=JoinReply)
    except UNREADABLE:
        raise Unreachable("the controller's answer to the join cannot be read") from None
    finally:
        await link.close()
    if reply.error.startswith("try again"):
        raise Unreachable(reply.error)
    if reply.error:
        raise Refused(reply.error, "make a new join token for this server")
    return User(reply.jwt, seed)


async def _reply_to(data: bytes, handle: Callable[[Job], Awaitable[JobReply]]) -> JobReply:
    try:
        job = decode_job(data)
    except FrameError as error:
        return JobReply(intent="", status=JobStatus.REFUSED, error=str(error))
    return await handled(job, handle)


async def handled(job: Job, handle: Callable[[Job], Awaitable[JobReply]]) -> JobReply:
    """Run the handler; its bug is an answer, never silence."""
    try:
        return await handle(job)
    except Exception as error:
        log.exception("job %s (%s)", job.name, job.intent)
        return JobReply(intent=job.intent, status=JobStatus.FAILED, error=f"{type(error).__name__}: {error}")


async def _answer_same(message: Any) -> None:
    await message.respond(message.data)
