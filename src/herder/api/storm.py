"""/v1/storm: is it them, or is it us? What fell where, what is frozen, and what budgets are left."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from herder.api.asking import Asked
from herder.api.control import Facts

router = APIRouter(prefix="/v1/storm", tags=["storm"])


class Freeze(BaseModel):
    """scope: fleet, zone:a, service:orders ...; why: for whoever finds it later."""

    model_config = ConfigDict(extra="forbid")

    scope: str
    why: str


class Release(BaseModel):
    """scope: as it was frozen."""

    model_config = ConfigDict(extra="forbid")

    scope: str


@router.get("")
async def storm(control: Asked) -> Facts:
    return await control.storm()


@router.post("/freezes", status_code=201)
async def freeze(wanted: Freeze, control: Asked) -> Facts:
    """No remedy begins in the scope until it is released."""
    return await control.freeze_scope(wanted.scope, wanted.why)


@router.delete("/freezes")
async def release(wanted: Release, control: Asked) -> Facts:
    return await control.release_scope(wanted.scope)


@router.post("/incidents/{incident}/{order}")
async def order(incident: str, order: str, control: Asked) -> Facts:
    """order: pause, resume or abort."""
    await control.order_recovery(incident, order)
    return await control.storm()
