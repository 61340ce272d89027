"""Errors as `application/problem+json` (RFC 9457): what went wrong, where, and nothing of what was sent."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import orjson
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ocppcore import telemetry
from ocppcore.log import LogUnavailable
from ocppcore.store import StoreUnavailable

MEDIA_TYPE: Final = "application/problem+json"
FIELD_ERRORS_MAX: Final = 50
RETRY_AFTER_S: Final = 2

logger = structlog.get_logger(__name__)


class FieldError(NamedTuple):
    """`field` names the part of the request, dotted: `body.evses.0.id`, `query.limit`, `path.stationId`."""

    field: str
    detail: str


class Problem(Exception):
    """Raise it anywhere under a request. `detail` is for a person who made the request, and holds no secret."""

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        title: str = "",
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.detail = detail
        self.title = title or HTTPStatus(status).phrase
        self.errors = errors
        self.headers = dict(headers or {})
        self.more = more

    def response(self) -> Response:
        body: dict[str, Any] = {"type": "about:blank", "title": self.title, "status": self.status}
        if self.detail:
            body["detail"] = self.detail
        if self.errors:
            body["errors"] = [error._asdict() for error in self.errors[:FIELD_ERRORS_MAX]]
        if traceparent := telemetry.current():
            body["traceId"] = traceparent.split("-")[1]
        return Response(orjson.dumps(body | self.more), self.status, self.headers, MEDIA_TYPE)


class FieldErrorModel(BaseModel):
    field: str = Field(examples=["body.securityProfile"])
    detail: str


class ProblemModel(BaseModel):
    """RFC 9457. `errors` names the fields at fault, `traceId` finds the request in the logs."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[FieldErrorModel] | None = None
    traceId: str | None = None


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For `responses=` of a route: these statuses answer with a problem."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Answer every error of this application as a problem."""
    app.add_exception_handler(Problem, _own)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _of_framework)
    app.add_exception_handler(LogUnavailable, _unavailable)
    app.add_exception_handler(StoreUnavailable, _unavailable)
    app.add_exception_handler(Exception, _unexpected)


async def _own(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return unprocessable(error.errors()).response()


def unprocessable(errors: Sequence[Mapping[str, Any]], root: str = "") -> Problem:
    """422 from pydantic's errors. `root` stands before each field where the errors do not name it (`body`)."""
    found = [FieldError(_dotted(root, error["loc"]), str(error["msg"])) for error in errors[:FIELD_ERRORS_MAX]]
    where = f"{found[0].field}: {found[0].detail}" if found else ""
    return Problem(422, where, title="Invalid request", errors=found)


def _dotted(root: str, location: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in ([root, *location] if root else location))


async def _of_framework(_: Request, error: Exception) -> Response:
    """404, 405 and 400 as the framework raises them."""
    assert isinstance(error, HTTPException)
    detail = "" if error.detail == HTTPStatus(error.status_code).phrase else str(error.detail)
    return Problem(error.status_code, detail, headers=error.headers).response()


async def _unavailable(_: Request, error: Exception) -> Response:
    logger.error("cannot serve: log or store unavailable", error=str(error))
    return Problem(
        503, "The log or the database did not answer; nothing is known of what was asked.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    ).response()  # fmt: skip


async def _unexpected(_: Request, __: Exception) -> Response:
    """The framework raises it again after this answer, so that the server logs it with its traceback."""
    return Problem(500, "This is our fault. The logs tell more under the traceId.").response()
