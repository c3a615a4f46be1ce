"""Where servers come from. A server is an address with an agent; its life is an incarnation."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider can do here. A thing that is not possible is said, never pretended."""

    name: str
    namespaces: bool  # each server is a network namespace with its own address
    can_fence: bool  # it can end an incarnation for sure
    subnet: str  # servers' and members' addresses come from here
    controller_address: str  # where servers reach the control plane
    images: bool = False  # it boots a server onto an image that is named
    why_not: str = ""  # why namespaces are missing, for people


class ServerHandle(msgspec.Struct, frozen=True, kw_only=True):
    """A server as its provider knows it. pid: the agent's first process. namespace: '' where there is none."""

    server: str
    incarnation: int
    address: str
    namespace: str
    directory: str
    pid: int = 0


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent needs to begin: written for it in its server's directory, readable by it alone."""

    server: str
    incarnation: int
    nats_url: str
    join_token: str
    engine_user: str
    settings: dict[str, str] = {}
    image: str = ""  # what to boot; '' = as it was made. Only a provider with images is told of one


class Provider(Protocol):
    """Makes, starts, fences and removes servers. All calls are idempotent and name the incarnation."""

    async def ground(self) -> Ground:
        """What is possible here (asks the kernel once)."""

    async def create(self, launch: Launch, address: str) -> ServerHandle:
        """Make the server and start its agent; returns when the agent's process runs."""

    async def attach_address(self, server: str, address: str) -> None:
        """Give a member slot's address to this server, taking it from any other server of this provider."""

    async def boot(self, launch: Launch) -> ServerHandle:
        """Start a stopped server again as `launch.incarnation` (its disk is kept); adopts an agent that still runs."""

    async def alive(self, server: str) -> bool | None:
        """Does the provider think it runs? None = it cannot tell. A vantage point, not a proof."""

    async def fence(self, server: str, incarnation: int) -> str:
        """End every process of that incarnation (and cut its link when they do not end); returns how it was confirmed.
        Raises Refused when this provider cannot or may not fence, Unreachable when it cannot confirm.
        """

    async def destroy(self, server: str) -> None:
        """Remove the server for good (processes, namespace); its directory is moved to the provider's trash."""

    async def close(self) -> None:
        """Let go; servers keep running."""
