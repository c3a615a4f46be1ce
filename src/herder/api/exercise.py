"""/v1/exercise: routine exercises: who takes part, and one by hand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from herder.api.asking import Asked
from herder.api.control import Facts

MOST_SERVICES = 10_000

router = APIRouter(prefix="/v1/exercise", tags=["exercise"])


class Part(BaseModel):
    """How a service takes part; empty: as its plan would. every: '7d'. window: 'mon-fri 02:00-05:00', in UTC."""

    model_config = ConfigDict(extra="forbid")

    every: str = ""
    window: str = ""
    how: str = ""


class Now(BaseModel):
    """how: 'switchover' or 'failover'; empty: as it takes part."""

    model_config = ConfigDict(extra="forbid")

    how: str = ""


@router.get("")
async def show_exercise(control: Asked, limit: Annotated[int, Query(ge=1, le=MOST_SERVICES)] = 50) -> Facts:
    """The calendar: at most `limit` services, those under way first, then by when they are due."""
    return await control.exercise(limit)


@router.put("/{name}")
async def take_part(name: str, part: Part, control: Asked) -> Facts:
    return await control.exercise_on(name, every=part.every, window=part.window, how=part.how)


@router.delete("/{name}")
async def take_no_part(name: str, control: Asked) -> Facts:
    """Also when its plan takes part."""
    return await control.exercise_off(name)


@router.post("/{name}/now")
async def exercise_now(name: str, control: Asked, now: Now | None = None) -> Facts:
    """Returns when it has begun; 403 with the reason when it may not be."""
    return await control.exercise_now(name, how=now.how if now else "")
