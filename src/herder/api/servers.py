"""/v1/servers and /v1/agents: what services run on, and who watches there."""

from __future__ import annotations

from fastapi import APIRouter

from herder.api.asking import Asked
from herder.api.control import Facts

router = APIRouter(prefix="/v1", tags=["servers"])


@router.get("/servers")
async def list_servers(control: Asked) -> list[Facts]:
    return await control.servers()


@router.get("/agents")
async def list_agents(control: Asked) -> list[Facts]:
    return await control.agents()
