"""Failures over HTTP: problem details (RFC 9457) that say what to do next, and never a trace."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from handoff.errors import StructuredError

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

_NAME = re.compile(r"[A-Za-z_][A-Za-z_-]{0,40}")
"""Spelt like a field of ours: no figures, so that no key or number passes for one."""

_STATUS = {
    "invalid_cursor": 400,
    "session_conflict": 409,
    "escalation_not_found": 404,
    "escalation_refused": 422,
    "already_decided": 409,
    "already_claimed": 409,
    "escalation_expired": 409,
    "run_ended": 409,
    "approval_credential": 403,
    "approval_refused": 409,
    "unknown_agent": 422,
    "queue_full": 429,
    "draining": 503,
    "contention": 503,
    "store_unavailable": 503,
}
"""By the code of errors that do not come from this package."""


class FieldProblem(BaseModel):
    """What is wrong with one field of the request."""

    field: str
    message: str


class Problem(BaseModel):
    """Why a request was not done."""

    type: str
    """`urn:switchboard:problem:` and the code."""
    title: str
    status: int
    detail: str
    """What happened, for a person; it quotes nothing of the request."""
    code: str
    """What happened, for a program; stable."""
    retryable: bool
    """Whether the same request may succeed later."""
    field: str | None = None
    suggestion: str | None = None
    """What to do next."""
    retry_after_seconds: float | None = None
    errors: list[FieldProblem] | None = None
    """Every field that is wrong, where several are."""


class RequestError(StructuredError):
    """The request is refused with this HTTP status."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        suggestion: str | None = None,
        retry_after_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
        errors: list[FieldProblem] | None = None,
    ) -> None:
        super().__init__(
            message,
            code=code,
            field=field,
            suggestion=suggestion,
            retryable=retry_after_seconds is not None,
            retry_after_seconds=retry_after_seconds,
        )
        self.status = status
        self.headers = headers or {}
        self.errors = errors


def invalid_request(error: ValidationError, *, where: str = "body") -> RequestError:
    """What is wrong with a request's fields, without their values."""
    found = [
        FieldProblem(field=".".join(_shown(part) for part in each["loc"]) or where, message=_reason(each))
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    first = found[0]
    return RequestError(
        422,
        "invalid_request",
        f"{first.field}: {first.message}",
        field=first.field,
        suggestion="see /openapi.json for what is expected",
        errors=found,
    )


def problem_response(error: StructuredError) -> Response:
    """The answer to a request that failed in this way."""
    status = _status(error)
    headers = dict(error.headers) if isinstance(error, RequestError) else {}
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_seconds))
    return _response(
        Problem(
            type=f"urn:switchboard:problem:{error.code}",
            title=HTTPStatus(status).phrase,
            status=status,
            detail=error.message,
            code=error.code,
            retryable=error.retryable,
            field=error.field,
            suggestion=error.suggestion,
            retry_after_seconds=error.retry_after_seconds,
            errors=error.errors if isinstance(error, RequestError) else None,
        ),
        headers,
    )


async def on_structured_error(_: Request, error: Exception) -> Response:
    """A failure that says what it is."""
    assert isinstance(error, StructuredError)
    if _status(error) >= 500:
        log.error("request_failed", code=error.code)
    return problem_response(error)


async def on_http_exception(_: Request, error: Exception) -> Response:
    """A refusal by the framework: no such route, no such method, too large."""
    assert isinstance(error, HTTPException)
    code, detail = _FRAMEWORK.get(
        error.status_code, ("request_refused", HTTPStatus(error.status_code).phrase)
    )
    return problem_response(RequestError(error.status_code, code, detail, headers=error.headers))


async def on_crash(request: Request, error: Exception) -> Response:
    """A defect of ours: the log has it, the caller gets no part of it."""
    log.error("request_crashed", path=request.scope.get("path"), error=type(error).__name__)
    return problem_response(
        RequestError(
            500,
            "internal_error",
            "something went wrong on our side",
            suggestion="look into the service's log",
        )
    )


_FRAMEWORK = {
    400: ("bad_request", "the request cannot be read"),
    404: ("not_found", "there is nothing at this path"),
    405: ("method_not_allowed", "this path does not take this method"),
    413: ("request_too_large", "the request's body is too large"),
}


def _status(error: StructuredError) -> int:
    if isinstance(error, RequestError):
        return error.status
    return _STATUS.get(error.code, 503 if error.retryable else 500)


def _response(problem: Problem, headers: Mapping[str, str]) -> Response:
    return JSONResponse(
        problem.model_dump(mode="json", exclude_none=True),
        status_code=problem.status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


def _shown(part: str | int) -> str:
    """A name as it stands, anything else only as a placeholder: a member nobody expects can be data too."""
    return str(part) if isinstance(part, int) or _NAME.fullmatch(part) else "(unnamed)"


def _reason(error: ErrorDetails) -> str:
    """Pydantic's text, without its prefix for our own, and without what a parser found in the value."""
    message = error["msg"].removeprefix("Value error, ")
    return message.partition(", ")[0] if error["type"].endswith("_parsing") else message
