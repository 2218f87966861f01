"""Every request that reaches a server is answered as somebody's: here it is noted whose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_REQUEST, RequestParamsMeta

from handoff.meta import CUSTOMER_META
from servers._access import Identity, acting, acting_identity
from servers._auth.gate import identity_of
from servers._auth.scopes import Scopes, check_call
from servers._results import ForbiddenError


class Callers:
    """Knows who calls, as an SDK middleware around each message.

    `local` is whoever reaches the server without credentials; None where everybody has to have some.
    """

    def __init__(self, scopes: Scopes, local: Identity | None) -> None:
        self.scopes = scopes
        self.local = local

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        identity = identity_of(ctx.request) or self.local
        if identity is None:
            raise MCPError(code=INVALID_REQUEST, message="the request came past the check of credentials")
        with acting(identity):
            return await call_next(_for_its_customer(ctx, identity))

    def current(self) -> Identity:
        """Who calls now. Raises: ForbiddenError where nobody was noted and nobody is the local user."""
        identity = acting_identity() or self.local
        if identity is None:
            raise ForbiddenError("nobody is known to make this call", suggestion="call the tool as a client")
        return identity

    def may_call(self, tool: str) -> bool:
        return self.scopes.of(tool) in self.current().scopes

    def check(self, tool: str, customer_id: str | None) -> None:
        """Raises: ForbiddenError naming the scope that the call needs."""
        check_call(self.current(), self.scopes.of(tool), customer_id)

    def check_reading(self, customer_id: str | None) -> None:
        """The same for resources, which are for staff."""
        check_call(self.current(), self.scopes.reading, customer_id)


def _for_its_customer(
    ctx: ServerRequestContext[Any, Any], identity: Identity
) -> ServerRequestContext[Any, Any]:
    """A credential tied to a customer acts for that one, as if each call had named it."""
    meta = dict(ctx.meta or {})
    if identity.customer_id is None or CUSTOMER_META in meta:
        return ctx
    return replace(ctx, meta=cast(RequestParamsMeta, {**meta, CUSTOMER_META: identity.customer_id}))
