"""/v1/recovery and /v1/dependencies: mass recoveries, how far they are, and what they wait for."""

from __future__ import annotations

from fastapi import APIRouter

from herder.api.asking import Asked
from herder.api.control import Facts

router = APIRouter(prefix="/v1", tags=["recovery"])


@router.get("/recovery")
async def recovery(control: Asked) -> Facts:
    return await control.recovery()


@router.get("/dependencies")
async def dependencies(control: Asked) -> list[Facts]:
    return await control.dependencies()


@router.post("/dependencies/{name}/{word}")
async def say(control: Asked, name: str, word: str) -> list[Facts]:
    """word: down or well, as a person knows it."""
    return await control.say_of_dependency(name, word)
