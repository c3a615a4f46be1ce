"""/v1/services: make, look at, move, restart and destroy what developers asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from herder.api.asking import Asked, Closing, each_until_closing, unless_closing
from herder.api.control import Facts

LONGEST_WAIT_S = 3600.0

router = APIRouter(prefix="/v1/services", tags=["services"])


class NewService(BaseModel):
    """What a service is asked for by. major: engine version, 0 = the newest found."""

    model_config = ConfigDict(extra="forbid")

    engine: str
    name: str
    plan: str
    major: int = 0


class Consent(BaseModel):
    """The owner typed the service's name."""

    model_config = ConfigDict(extra="forbid")

    consent: str


class Move(BaseModel):
    """to: a member's id; empty: herder chooses."""

    model_config = ConfigDict(extra="forbid")

    to: str = ""


@router.get("")
async def list_services(control: Asked) -> list[Facts]:
    return await control.services()


@router.post("", status_code=201)
async def create_service(
    wanted: NewService, control: Asked, idempotency_key: Annotated[str, Header(max_length=200)] = ""
) -> Facts:
    """Returns at once; wait for `available`. The same Idempotency-Key again answers with the same service."""
    return await control.create_service(
        engine=wanted.engine, name=wanted.name, plan=wanted.plan, major=wanted.major, key=idempotency_key
    )


@router.get("/{name}")
async def show_service(name: str, control: Asked) -> Facts:
    return await control.show(name)


@router.delete("/{name}")
async def destroy_service(name: str, given: Consent, control: Asked) -> Facts:
    """The data rests in the trash for the plan's days."""
    return await control.destroy_service(name, given.consent)


@router.get("/{name}/wait")
async def wait_for_state(
    name: str,
    control: Asked,
    closing: Closing,
    state: str = "available",
    timeout_s: Annotated[float, Query(ge=0, le=LONGEST_WAIT_S)] = 30.0,
) -> Facts:
    """A long poll: answers once the service is in that state, or 504 when the time is over."""
    return await unless_closing(control.wait(name, state, timeout_s), closing)


@router.get("/{name}/watch-url")
async def watch_url(name: str, control: Asked, closing: Closing) -> StreamingResponse:
    """One JSON object a line (application/x-ndjson): now, and again at each change of the primary."""
    await control.show(name)  # an unknown name is a 404 here; inside the stream it would be too late

    async def lines() -> AsyncIterator[str]:
        async for change in each_until_closing(control.watch_url(name), closing):
            yield json.dumps(change) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@router.get("/{name}/explain")
async def explain_service(name: str, control: Asked) -> Facts:
    return await control.explain(name)


@router.post("/{name}/switchover")
async def switch_service_over(name: str, control: Asked, move: Move | None = None) -> Facts:
    return await control.switchover(name, to=move.to if move else "")


@router.post("/{name}/restart")
async def restart_service(name: str, control: Asked) -> Facts:
    return await control.restart(name)


@router.post("/{name}/allow-failover")
async def allow_failover(name: str, control: Asked) -> Facts:
    """Its failover budget is used up and it is blocked: a person allows one more."""
    return await control.allow_failover(name)
