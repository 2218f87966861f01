"""What a tool call can end in: a result, a structured error, or a failure of the way to the server."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mcp import MCPError
from mcp.types import CONNECTION_CLOSED, PARSE_ERROR, REQUEST_TIMEOUT, CallToolResult, TextContent
from pydantic import ValidationError

from handoff.errors import StructuredError
from orchestrator.links.http_transport import STATUS_REFUSED, TRANSPORT_FAILED
from orchestrator.models.protocol import JsonObject

_SESSION_ENDED = ("Session not found", "Session terminated", "Not Found: Session has been terminated")
_NOT_TAKEN = (408, 425, 429, 503)
"""HTTP statuses that say the request was not taken up."""
CREDENTIAL_REFUSED = (401, 403)


class ServerUnavailableError(StructuredError):
    """A server cannot be reached; the message is one line that names it, says why, and what to do."""

    code = "server_unavailable"
    retryable = True

    def __init__(
        self,
        server: str,
        reason: str,
        advice: str | None = None,
        *,
        retryable: bool = True,
        retry_after_seconds: float | None = None,
    ) -> None:
        """`retryable` is false where only a person can help."""
        super().__init__(
            f"server {server} is unavailable: {reason}" + (f"; {advice}" if advice else ""),
            suggestion=advice,
            retryable=retryable,
            retry_after_seconds=retry_after_seconds,
        )
        self.server, self.reason, self.advice = server, reason, advice

    def again_in(self, seconds: float) -> ServerUnavailableError:
        """The same failure, with the time after which the next attempt is made."""
        after = round(seconds, 3) if seconds > 0 else None
        return ServerUnavailableError(
            self.server, self.reason, self.advice, retryable=self.retryable, retry_after_seconds=after
        )


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """How a call ended. `content` is the structured result, or the structured error."""

    ok: bool
    content: JsonObject

    @property
    def code(self) -> str | None:
        """The error's code; None for a result."""
        return None if self.ok else str(self.content["code"])

    @property
    def retryable(self) -> bool:
        return not self.ok and self.content["retryable"] is True

    @property
    def outcome_unknown(self) -> bool:
        """Whether the call may have taken effect although no answer came."""
        return not self.ok and self.content.get("outcome_unknown") is True

    @property
    def surely_not_done(self) -> bool:
        """Whether the call certainly never reached the server."""
        return not self.ok and self.content.get("outcome_unknown") is False

    @property
    def retry_after_seconds(self) -> float | None:
        """When the other side asked to be called again, if it did."""
        after = self.content.get("retry_after_seconds")
        return float(after) if isinstance(after, int | float) and after > 0 else None


def failed(code: str, message: str, *, retryable: bool = False, **members: object) -> CallOutcome:
    """An error outcome; members that are None are left out."""
    known = {name: value for name, value in members.items() if value is not None}
    return CallOutcome(False, {"code": code, "message": message, "retryable": retryable, **known})


def not_done(error: StructuredError) -> CallOutcome:
    """The outcome of a call that failed on this side, before anything was sent."""
    return CallOutcome(False, {**error.to_json(), "outcome_unknown": False})


def outcome_of_result(result: CallToolResult) -> CallOutcome:
    """Read a server's answer. Foreign servers may give unstructured results and errors: text."""
    structured, text = result.structured_content, _text(result)
    if result.is_error:
        return CallOutcome(False, _structured_error(structured, text))
    if isinstance(structured, dict):
        return CallOutcome(True, structured)
    return CallOutcome(True, {"text": text} if structured is None else {"result": structured})


def outcome_of_exception(server: str, error: Exception) -> CallOutcome:
    """Read a call that ended without a usable answer; `outcome_unknown` is false only if that is certain."""
    if isinstance(error, MCPError):
        return _outcome_of_mcp_error(server, error)
    if isinstance(error, TimeoutError):
        return _timed_out(server)
    if isinstance(error, RuntimeError | ValidationError):
        # The SDK checks results against the tool's output schema. Its text quotes them: it stays here.
        return failed("invalid_result", f"{server} answered with a result its own schema does not allow")
    return _no_answer(server, f"the call failed ({type(error).__name__})")


def session_ended(error: Exception) -> bool:
    """Whether the server forgot this client's session: open a new one, the call was not made."""
    return isinstance(error, MCPError) and error.message in _SESSION_ENDED


def never_sent(error: BaseException | None) -> bool:
    """Whether no connection to the address came about."""
    return (
        isinstance(error, MCPError) and error.code == TRANSPORT_FAILED and not _data(error).get("sent", True)
    )


def refused_status(error: BaseException | None) -> int | None:
    """The HTTP status that refused the request, if that is what happened."""
    if isinstance(error, MCPError) and error.code == STATUS_REFUSED:
        return int(_data(error).get("status", 0))
    return None


def _outcome_of_mcp_error(server: str, error: MCPError) -> CallOutcome:
    if session_ended(error):
        return _no_answer(server, "its session ended", outcome_unknown=False)
    if never_sent(error):
        return _no_answer(server, "nobody answers at its address", outcome_unknown=False)
    if (status := refused_status(error)) is not None:
        return _refused(server, status, _data(error).get("retry_after"))
    if error.code == REQUEST_TIMEOUT:
        return _timed_out(server)
    if error.code in (CONNECTION_CLOSED, TRANSPORT_FAILED, PARSE_ERROR):
        return _no_answer(server, "the connection broke before the answer came")
    if _is_structured(error.data):
        return CallOutcome(False, {**error.data, "retryable": error.data.get("retryable") is True})
    return failed("protocol_error", f"{server} refused the call: {error.message}")


def _refused(server: str, status: int, retry_after: float | None) -> CallOutcome:
    if status in CREDENTIAL_REFUSED:
        return failed(
            "unauthorized",
            f"{server} refused the credential (HTTP status {status})",
            suggestion="check the credential that the team file names for it",
        )
    return _no_answer(
        server,
        f"it answered with HTTP status {status}",
        outcome_unknown=status not in _NOT_TAKEN,
        retry_after_seconds=retry_after,
    )


def _no_answer(
    server: str, reason: str, *, outcome_unknown: bool = True, retry_after_seconds: float | None = None
) -> CallOutcome:
    return failed(
        "server_unavailable",
        f"{server}: {reason}",
        retryable=True,
        outcome_unknown=outcome_unknown,
        retry_after_seconds=retry_after_seconds,
    )


def _timed_out(server: str) -> CallOutcome:
    return failed("timeout", f"{server} did not answer in time", retryable=True, outcome_unknown=True)


def _structured_error(structured: object, text: str) -> JsonObject:
    for candidate in (structured, _parsed(text)):
        if isinstance(candidate, dict) and _is_structured(candidate):
            return {**candidate, "retryable": candidate.get("retryable") is True}
    return {"code": "tool_error", "message": text or "the tool failed without saying why", "retryable": False}


def _is_structured(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return isinstance(value.get("code"), str) and isinstance(value.get("message"), str)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _data(error: MCPError) -> JsonObject:
    return error.data if isinstance(error.data, dict) else {}


def _text(result: CallToolResult) -> str:
    blocks = (block.text if isinstance(block, TextContent) else f"[{block.type}]" for block in result.content)
    return "\n".join(blocks)
