"""Answers to requests that cannot be fulfilled, in the form that OpenAI's clients know."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from model.sequences import PromptError
from model.serving.engine import Busy, Stopped
from model.serving.pictures import PictureError
from model.serving.requests import wrong


class Refusal(BaseModel):
    """What an error says."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Refused(BaseModel):
    """The body of an error."""

    error: Refusal


class NotTaken(Exception):
    """A request that is refused, with its status."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


DOCUMENTED = {
    status: {"model": Refused, "description": what}
    for status, what in (
        (400, "The request says something that cannot be done."),
        (401, "A key is missing or wrong."),
        (404, "There is no such model."),
        (408, "The request did not come in time."),
        (413, "The request or a picture is too large."),
        (429, "The queue is full: come again after `Retry-After` seconds."),
    )
}
"""For the OpenAPI document."""


def refusal(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error as JSON."""
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(
        status, "server_error" if status >= 500 else "invalid_request_error"
    )
    message = message.encode("utf-8", "replace").decode()
    body = Refused(error=Refusal(message=message, type=kind, param=param, code=code))
    return JSONResponse(body.model_dump(), status, headers)


def of(error: Exception) -> Response:
    """What is said of an error; one that nobody caused tells nothing of our insides."""
    if isinstance(error, NotTaken):
        return refusal(error.status, str(error), param=error.param, code=error.code)
    if isinstance(error, Busy):
        return refusal(429, str(error), code="queue_full", headers={"Retry-After": str(error.seconds)})
    if isinstance(error, PictureError):
        return refusal(413 if error.too_large else 400, str(error), code="image_not_taken")
    if isinstance(error, PromptError):
        return refusal(400, str(error), code="prompt_not_taken")
    if isinstance(error, Stopped):
        return refusal(503, str(error), code="stopping", headers={"Retry-After": "5"})
    logging.getLogger("millrace.serving").error("a request failed by our mistake", exc_info=error)
    return refusal(500, "this is our mistake, and the log says more", code="internal_error")


def install(app: FastAPI) -> None:
    """Has an app answer its errors so."""

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        message, param = wrong(list(error.errors()))
        return refusal(400, message, param=param[:200] or None)

    async def told(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return refusal(error.status_code, str(error.detail), headers=error.headers)

    async def ours(request: Request, error: Exception) -> Response:
        return of(error)

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, told)
    for kind in (Exception, NotTaken, Busy, PictureError, PromptError, Stopped):
        app.add_exception_handler(kind, ours)
