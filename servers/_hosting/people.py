"""The routes of a server that are for people: served beside `/mcp`, behind the same gate."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from handoff.errors import JsonObject
from servers._auth.gate import identity_of
from servers._auth.refusals import Refusal
from servers._people import PeopleRequest, PeopleRoute
from servers._results import ForbiddenError, InvalidError

if TYPE_CHECKING:
    from servers._hosting.guard import GuardedServer

MAX_BODY_BYTES = 64 * 1024


def offer_to_people(server: GuardedServer, routes: Sequence[PeopleRoute]) -> None:
    """Add the routes to the server's app; what they raise the gate turns into an answer."""
    for route in routes:
        server.custom_route(route.path, methods=[route.method])(_endpoint(server, route))


def _endpoint(server: GuardedServer, route: PeopleRoute) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        identity = identity_of(request) or server.callers.local
        if identity is None:
            raise ForbiddenError("nobody is known to make this request")
        identity.check_scope(route.scope)
        asked = PeopleRequest(
            identity=identity,
            address=request.client.host if request.client is not None else "unknown",
            path=dict(request.path_params),
            query=dict(request.query_params),
            body=await _body(request) if route.method == "POST" else {},
        )
        return JSONResponse(await route.answer(asked), headers={"cache-control": "no-store"})

    return endpoint


async def _body(request: Request) -> JsonObject:
    text = b""
    async for chunk in request.stream():
        text += chunk
        if len(text) > MAX_BODY_BYTES:
            raise Refusal("request_too_large", f"the body is longer than {MAX_BODY_BYTES:,} bytes")
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidError("the body is not JSON", field="body", suggestion="send a JSON object") from None
    if not isinstance(found, dict):
        raise InvalidError("the body is not a JSON object", field="body", suggestion="send a JSON object")
    return found
