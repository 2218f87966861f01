"""What an error of Redis or of the way to it means to a caller."""

from __future__ import annotations

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    ResponseError,
)

from handoff.errors import StoreUnavailableError

_LATER = "repeat the call a little later"

# A script's error names the cause somewhere in its text, after where in the script it happened.
_REFUSALS = {
    "OOM": ("Redis is out of memory", "give Redis more memory or erase old data, then repeat the call"),
    "READONLY": ("Redis is a read-only replica", "point the store URL at the primary server"),
    "MISCONF": (
        "Redis cannot write to its disk",
        "free disk space on the Redis server, then repeat the call",
    ),
    "NOREPLICAS": ("Redis has too few replicas to accept writes", _LATER),
    "MASTERDOWN": ("Redis is a replica that lost its primary", _LATER),
    "CLUSTERDOWN": ("the Redis cluster is down", _LATER),
    "TRYAGAIN": ("the Redis cluster is moving its data", _LATER),
    "BUSY": ("Redis is busy with a long script", _LATER),
}

UNREACHABLE = "Redis cannot be reached"
SILENT = "Redis did not answer in time"


def translated(error: Exception, *, outcome_unknown: bool = False) -> StoreUnavailableError:
    """The error for a caller; `outcome_unknown` says that a write was sent and not answered."""
    if isinstance(error, BusyLoadingError):
        return StoreUnavailableError("Redis is loading its data", suggestion=_LATER)
    if isinstance(error, AuthenticationError | AuthorizationError | NoPermissionError):
        return StoreUnavailableError(
            "Redis refused the credentials, or what they may do",
            suggestion="correct the user and password of the store URL, or the user's permissions",
            retryable=False,
        )
    if isinstance(error, ResponseError):
        return _refused(error, outcome_unknown)
    return unanswered(UNREACHABLE, outcome_unknown)


def unanswered(cause: str, outcome_unknown: bool) -> StoreUnavailableError:
    """The error for a command that got no answer."""
    if not outcome_unknown:
        return StoreUnavailableError(cause, suggestion=f"check the Redis server, then {_LATER}")
    return StoreUnavailableError(
        f"{cause}; whether the change was made is unknown",
        suggestion="repeat the call with the same idempotency token, or read before writing again",
        details={"outcome_unknown": True},
    )


def closed_error() -> StoreUnavailableError:
    return StoreUnavailableError("the store is closed", suggestion="open the store again", retryable=False)


def _refused(error: ResponseError, outcome_unknown: bool) -> StoreUnavailableError:
    words = {error.status_code or "", *(word.strip("-:") for word in str(error).split())}
    for code, (cause, suggestion) in _REFUSALS.items():
        if code in words:
            return StoreUnavailableError(cause, suggestion=suggestion)
    return StoreUnavailableError(
        "Redis could not run the store's command",
        suggestion="see that Redis is 6.2 or newer, not a node of a cluster, and used by nothing else "
        "under the store's keys",
        retryable=False,
        details={"outcome_unknown": True} if outcome_unknown else None,
    )
