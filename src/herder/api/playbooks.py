"""/v1/playbooks: how often each playbook ran, how it ended, how long it took."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from herder.api.asking import Asked
from herder.api.control import Facts

LONGEST_DAYS = 3660.0

router = APIRouter(prefix="/v1", tags=["playbooks"])


@router.get("/playbooks")
async def list_playbooks(control: Asked, days: Annotated[float, Query(gt=0, le=LONGEST_DAYS)] = 30.0) -> Facts:
    """Those that began in the last `days`; exercised ones apart."""
    return await control.playbooks(days)
