"""/v1/projection: the rows that people query, how far they are behind the log, and how to have them derived anew."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from herder.api.asking import Asked
from herder.api.control import Facts

router = APIRouter(prefix="/v1/projection", tags=["projection"])


@router.get("")
async def projection(control: Asked, *, ended: Annotated[bool, Query()] = False) -> Facts:
    """ended: answer when no rebuild runs any more."""
    return await control.projection(ended=ended)


@router.post("/rebuild", status_code=202)
async def rebuild(control: Asked) -> Facts:
    """Begins it; serving goes on."""
    return await control.rebuild_projection()
