"""/v1/status, /v1/pages, /v1/config, /v1/healthz: how the control plane and its fleet are."""

from __future__ import annotations

import os

from fastapi import APIRouter

from herder import __version__
from herder.api.asking import Asked
from herder.api.control import Facts

router = APIRouter(prefix="/v1", tags=["status"])


@router.get("/healthz")
async def healthz() -> Facts:
    """The process answers. It says nothing of the fleet: that is /v1/status."""
    return {"ok": True, "version": __version__, "pid": os.getpid()}


@router.get("/status")
async def status(control: Asked) -> Facts:
    return await control.status()


@router.get("/pages")
async def list_pages(control: Asked) -> list[Facts]:
    return await control.pages()


@router.get("/config")
async def config(control: Asked) -> list[Facts]:
    return await control.config()
