"""What somebody is told who is not let through: the status, why, and what would help."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response

from handoff.errors import StructuredError

PROBLEM = "application/problem+json"
FORBIDDEN = -32052
"""JSON-RPC code of our own for a call that the credential does not cover."""

_STATUS = {
    "invalid_argument": 422,
    "not_found": 404,
    "conflict": 409,
    "forbidden": 403,
    "token_conflict": 409,
    "request_too_large": 413,
    "rate_limited": 429,
    "host_refused": 421,
    "unauthorized": 401,
    "bad_request": 400,
    "internal_error": 500,
}


class Refusal(StructuredError):
    """A request that is not let through."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        suggestion: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(
            message,
            code=code,
            suggestion=suggestion,
            retryable=retry_after_seconds is not None,
            retry_after_seconds=retry_after_seconds,
        )


def problem(error: StructuredError, headers: Mapping[str, str] | None = None) -> Response:
    """The error as problem details (RFC 9457)."""
    status = status_of(error)
    told = {
        "type": f"urn:switchboard:problem:{error.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.message,
        **error.to_json(),
    }
    del told["message"]
    given = dict(headers or {})
    if error.retry_after_seconds is not None:
        given["retry-after"] = str(math.ceil(error.retry_after_seconds))
    return JSONResponse(told, status_code=status, headers=given, media_type=PROBLEM)


def rpc_refusal(error: StructuredError, request_id: Any, headers: Mapping[str, str]) -> Response:
    """The same to a caller that speaks JSON-RPC, with the status that asks for another credential."""
    told = {"code": FORBIDDEN, "message": error.message, "data": error.to_json()}
    known = request_id if isinstance(request_id, str | int) else None
    answer = {"jsonrpc": "2.0", "id": known, "error": told}
    return JSONResponse(answer, status_code=403, headers=dict(headers))


def status_of(error: StructuredError) -> int:
    return _STATUS.get(error.code, 503 if error.retryable else 400)
