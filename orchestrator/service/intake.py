"""The gate every request passes: from where, by whom, how large, and how often."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from urllib.parse import urlsplit

from aiolimiter import AsyncLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from handoff.errors import StructuredError
from orchestrator.service.problems import RequestError, problem_response
from orchestrator.service.settings import ServiceSettings
from orchestrator.service.tokens import LOCAL, Caller, Tokens

OPEN_TO_ALL = "/healthz"
SHORT_WITHOUT_TOKEN = "/readyz"
"""Answers everybody, and says more to those with a token."""

_CHALLENGE = 'Bearer realm="switchboard"'


class Gate:
    """Lets authenticated requests of a bearable size and pace through, with their caller in the scope.

    Without tokens everybody on this machine is the caller `local`. Pages in a browser are not: the host
    that a request names must be this machine, and so must be the page that it comes from.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens | None, settings: ServiceSettings) -> None:
        self._app = app
        self._tokens = tokens
        self._settings = settings
        self._paces: dict[str, AsyncLimiter] = {}
        """By principal; the token file bounds how many there are."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            caller = self._caller(scope["path"], headers)
            self._check_size(headers)
            if caller is not None:
                await self._keep_pace(caller)
        except StructuredError as error:
            await problem_response(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    def _caller(self, path: str, headers: Headers) -> Caller | None:
        if path == OPEN_TO_ALL:
            return None
        if self._tokens is None:
            _check_this_machine(headers)
            return Caller(LOCAL, decides=True)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and (caller := self._tokens.caller(token.strip())):
            return caller
        if path == SHORT_WITHOUT_TOKEN and "authorization" not in headers:
            return None
        raise _unauthorized(given="authorization" in headers)

    def _check_size(self, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal()):
            raise RequestError(400, "bad_request", "the length of the body is not a number")
        if int(length) > self._settings.max_body_bytes:
            raise RequestError(
                413,
                "request_too_large",
                f"the request's body is longer than {self._settings.max_body_bytes:,} bytes",
            )

    async def _keep_pace(self, caller: Caller) -> None:
        most = self._settings.requests_per_minute
        pace = self._paces.get(caller.principal)
        if pace is None:
            pace = self._paces[caller.principal] = AsyncLimiter(most, 60)
        if not pace.has_capacity():
            raise RequestError(
                429,
                "rate_limited",
                f"more than {most} requests a minute",
                suggestion="repeat the request a little later",
                retry_after_seconds=60 / most,
            )
        await pace.acquire()


def is_loopback(host: str) -> bool:
    """Whether that name or address is this machine itself."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return False


def _check_this_machine(headers: Headers) -> None:
    """Raises: RequestError when a page in a browser may have made the request."""
    if not is_loopback(_hostname(f"//{headers.get('host', '')}")):
        raise RequestError(
            421,
            "host_refused",
            "without tokens requests must name this machine as their host",
            suggestion="use 127.0.0.1, or give the service a token file",
        )
    origin = headers.get("origin")
    if origin is not None and not is_loopback(_hostname(origin)):
        raise RequestError(403, "origin_refused", "without tokens no other site may send requests here")


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _unauthorized(*, given: bool) -> RequestError:
    challenge = f'{_CHALLENGE}, error="invalid_token"' if given else _CHALLENGE
    return RequestError(
        401,
        "unauthorized",
        "the bearer token is not one of ours" if given else "a bearer token is missing",
        suggestion="send the header Authorization: Bearer with your token",
        headers={"www-authenticate": challenge},
    )
