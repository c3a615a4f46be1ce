"""/v1/rollout: servers are rebooted in waves, because a person ordered it."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from herder.api.asking import Asked
from herder.api.control import Facts

router = APIRouter(prefix="/v1/rollout", tags=["rollout"])


class Reboot(BaseModel):
    """scope: fleet, zone:a ...; image: '' = as they are; until: '6h', '' = no end; why: for whoever reads the log."""

    model_config = ConfigDict(extra="forbid")

    scope: str
    image: str = ""
    until: str = ""
    why: str = ""


class Order(BaseModel):
    """until: a new end of its window, with resume."""

    model_config = ConfigDict(extra="forbid")

    until: str = ""


@router.get("")
async def show_rollouts(control: Asked) -> Facts:
    return await control.rollout()


@router.post("", status_code=201)
async def begin_rollout(wanted: Reboot, control: Asked) -> Facts:
    """Every server of the scope is rebooted, canaries first."""
    return await control.rollout_reboot(scope=wanted.scope, image=wanted.image, until=wanted.until, why=wanted.why)


@router.post("/{name}/{order}")
async def order_rollout(name: str, order: str, control: Asked, given: Order | None = None) -> Facts:
    """order: pause, resume or abort."""
    return await control.order_rollout(name, order, until=given.until if given else "")
