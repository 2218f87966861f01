"""The gate in front of every route of a server: called by which name, by whom, how often, for what.

Everything is closed except what is named here as open, so that a route that somebody adds is closed too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from handoff.errors import StructuredError
from servers._access import Identity
from servers._auth.calls import MAX_BODY_BYTES, CallScopes
from servers._auth.pace import Pace
from servers._auth.refusals import Refusal, problem, rpc_refusal
from servers._auth.resource import MCP_PATH, Resource
from servers._auth.scopes import Scopes
from servers._auth.settings import AccessSettings, Credentials
from servers._results import BusyError, ForbiddenError

OPEN = frozenset({"/healthz", "/readyz"})
"""They answer whoever keeps the server up, under whatever name, and tell nothing of what is stored."""

_IDENTITY = "switchboard_identity"


def identity_of(request: object) -> Identity | None:
    """Whom the gate let through with this HTTP request; None where no credentials are asked for."""
    scope = getattr(request, "scope", None) or {}
    found = scope.get("state", {}).get(_IDENTITY)
    return found if isinstance(found, Identity) else None


class Gate:
    """Lets through who may, with their identity in the request's state.

    Without `credentials` everybody is the local user, whom the server knows without being told.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        credentials: Credentials | None,
        resource: Resource,
        scopes: Scopes,
        names: TransportSecuritySettings,
        settings: AccessSettings,
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._resource = resource
        self._calls = CallScopes(scopes)
        self._names = TransportSecurityMiddleware(names)
        self._pace = Pace(settings.requests_per_minute)
        self._most = settings.max_requests
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # nothing of a server's speaks it
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if (refused := await self._names.validate_request(Request(scope))) is not None:
            await refused(scope, receive, send)
            return
        if self._credentials is not None and scope["path"] in self._resource.metadata_paths:
            await self._app(scope, receive, send)
            return
        try:
            identity = await self._identity(headers)
            self._keep_pace(identity)
            _check_length(headers)
            with self._place():
                await self._pass(identity, scope, receive, send)
        except StructuredError as error:
            await problem(error, self._headers(error, scope, headers))(scope, receive, send)

    async def _pass(self, identity: Identity | None, scope: Scope, receive: Receive, send: Send) -> None:
        if identity is not None:
            scope.setdefault("state", {})[_IDENTITY] = identity
            if scope["path"] == MCP_PATH and scope["method"] == "POST" and self._calls.may_lack(identity):
                body, receive = await self._calls.read(receive)
                try:
                    self._calls.check(identity, body)
                except ForbiddenError as error:
                    challenge = self._headers(error, scope, Headers(scope=scope))
                    await rpc_refusal(error, body.get("id"), challenge)(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    async def _identity(self, headers: Headers) -> Identity | None:
        if self._credentials is None:
            return None
        given = headers.getlist("authorization")
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        identity = None
        if scheme.lower() == "bearer" and token.strip():
            identity = await self._credentials.identity(token.strip())
        if identity is None:
            raise _Unauthorized(given=bool(given))
        return identity

    def _keep_pace(self, identity: Identity | None) -> None:
        wait = self._pace.wait_seconds(identity.principal) if identity is not None else 0.0
        if wait:
            raise Refusal(
                "rate_limited",
                f"more than {self._pace.per_minute} requests a minute",
                suggestion="repeat the request a little later",
                retry_after_seconds=wait,
            )

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._running >= self._most:
            raise BusyError(
                "the server answers as many requests as it can",
                suggestion="repeat the request after retry_after_seconds",
                retry_after_seconds=1.0,
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def _headers(self, error: StructuredError, scope: Scope, headers: Headers) -> dict[str, str]:
        scheme = scope.get("scheme", "http")
        if isinstance(error, _Unauthorized):
            return self._resource.challenge(scheme, headers, error="invalid_token" if error.given else None)
        if isinstance(error, ForbiddenError) and "scope" in error.details:
            return self._resource.challenge(
                scheme, headers, scopes=[error.details["scope"]], error="insufficient_scope"
            )
        return {}


class _Unauthorized(Refusal):
    """Nobody we know; `given` tells whether they tried."""

    def __init__(self, *, given: bool) -> None:
        super().__init__(
            "unauthorized",
            "the bearer token is not one that is valid here" if given else "a bearer token is missing",
            suggestion="send the header Authorization: Bearer with your token",
        )
        self.given = given


def _check_length(headers: Headers) -> None:
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()):
        raise Refusal("bad_request", "the length of the body is not a number")
    if int(length) > MAX_BODY_BYTES:
        raise Refusal("request_too_large", f"the body is longer than {MAX_BODY_BYTES:,} bytes")
