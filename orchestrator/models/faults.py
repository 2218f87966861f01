"""What an error of the Messages API means for the loop."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.models.protocol import Fault, ModelError

_SPEND_CODES = ("spend_limit_reached", "billing_unavailable", "ramp_limit_exceeded")

_BY_TYPE = {
    "billing_error": Fault.SPEND_LIMIT,
    "overloaded_error": Fault.OVERLOADED,
    "rate_limit_error": Fault.RATE_LIMITED,
    "timeout_error": Fault.TIMEOUT,
    "authentication_error": Fault.CREDENTIALS,
    "permission_error": Fault.CREDENTIALS,
    "not_found_error": Fault.NOT_FOUND,
    "request_too_large": Fault.TOO_LARGE,
    "api_error": Fault.SERVER,
}
_BY_STATUS = {
    401: Fault.CREDENTIALS,
    402: Fault.SPEND_LIMIT,
    403: Fault.CREDENTIALS,
    404: Fault.NOT_FOUND,
    408: Fault.TIMEOUT,
    409: Fault.SERVER,
    413: Fault.TOO_LARGE,
    429: Fault.RATE_LIMITED,
    499: Fault.SERVER,
    504: Fault.TIMEOUT,
    529: Fault.OVERLOADED,
}
_ADVICE = {
    Fault.CREDENTIALS: "the API refused the credentials; set ANTHROPIC_API_KEY to a valid key",
    Fault.SPEND_LIMIT: "the account's spending limit is reached; raise it or use another key",
    Fault.NOT_FOUND: "the API does not know this model; change the agent's model in the team file",
}


def fault_of(
    *,
    status: int,
    type: str | None,
    error_code: str | None,
    message: str,
    headers: Mapping[str, str],
    request_id: str | None,
) -> ModelError:
    """The typed error of an HTTP error, or of an `error` event in a stream (which has status 200).

    A spending limit comes as a 429 and must never be retried; `x-should-retry: false` is obeyed.
    """
    fault = _fault(status, type, error_code)
    error = ModelError(
        fault,
        _ADVICE.get(fault, message[:200]),
        request_id=request_id,
        retry_after_seconds=_retry_after(headers),
    )
    if error.retryable and headers.get("x-should-retry") == "false":
        return ModelError(Fault.BAD_REQUEST, message[:200], request_id=request_id)
    return error


def _fault(status: int, type: str | None, error_code: str | None) -> Fault:
    if error_code and error_code.endswith(_SPEND_CODES):
        return Fault.SPEND_LIMIT
    if type in _BY_TYPE:
        return _BY_TYPE[type]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return Fault.SERVER if status >= 500 else Fault.BAD_REQUEST


def _retry_after(headers: Mapping[str, str]) -> float | None:
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    return None
