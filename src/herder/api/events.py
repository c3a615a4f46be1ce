"""/v1/events: the log in words."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from herder.api.asking import Asked
from herder.api.control import Facts

MOST_EVENTS = 10_000

router = APIRouter(prefix="/v1", tags=["events"])


@router.get("/events")
async def list_events(
    control: Asked, name: str = "", limit: Annotated[int, Query(ge=1, le=MOST_EVENTS)] = 200
) -> list[Facts]:
    """The newest `limit` moves, oldest first; of one service when `name` is given."""
    return await control.events(name, limit)
