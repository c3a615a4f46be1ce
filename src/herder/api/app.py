"""The routes put together, and every error said the same way: {"error", "message", "hint"}."""

from __future__ import annotations

import asyncio
import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from herder import __version__
from herder.api import events, exercise, playbooks, projection, recovery, rollout, servers, services, status, storm
from herder.api.control import Control
from herder.model.errors import HerderError, InvalidInput, NotFound

log = logging.getLogger("herder.api")


def build(control: Control, closing: asyncio.Event) -> FastAPI:
    """The application. closing: set it to end long polls and streams."""
    app = FastAPI(title="herder", version=__version__, openapi_url="/v1/openapi.json", docs_url=None, redoc_url=None)
    app.state.control = control
    app.state.closing = closing
    for noun in (services, servers, status, events, exercise, playbooks, recovery, rollout, storm, projection):
        app.include_router(noun.router)
    app.add_exception_handler(HerderError, _operating)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _bug)
    return app


def said(error: HerderError) -> JSONResponse:
    """An operating error as the API answers it."""
    return JSONResponse(
        {"error": error.code, "message": error.message, "hint": error.hint}, status_code=error.http_status
    )


async def _operating(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HerderError)
    return said(error)


async def _unreadable(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in {"body", "query", "header"})
    return said(InvalidInput(f"{where or 'the request body'}: {first['msg']}", "see /v1/openapi.json"))


async def _no_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return said(NotFound(f"there is no {request.url.path}", "see /v1/openapi.json"))
    return JSONResponse(
        {"error": InvalidInput.code, "message": str(error.detail), "hint": "see /v1/openapi.json"},
        status_code=error.status_code,
    )


async def _bug(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    text = f"herder has a bug: {type(error).__name__}: {error}"
    return JSONResponse({"error": "error", "message": text, "hint": "herder.log has the details"}, status_code=500)
