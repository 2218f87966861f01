"""The service as an ASGI app, over an open desk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from handoff.errors import StructuredError
from handoff.whole_requests import WholeRequests
from orchestrator.service import directory, escalations, problems, runs
from orchestrator.service.front import Front
from orchestrator.service.intake import Gate
from orchestrator.service.mcp_desk import desk_route, desk_server
from orchestrator.service.openapi import Operation, document, routes
from orchestrator.service.readiness import Readiness
from orchestrator.service.tokens import Tokens

OPERATIONS: tuple[Operation, ...] = (*runs.OPERATIONS, *escalations.OPERATIONS, *directory.OPERATIONS)

DISTRIBUTION = "switchboard-mcp"


def create_app(
    front: Front, *, tokens: Tokens | None = None, operations: Sequence[Operation] = OPERATIONS
) -> Starlette:
    """The app; whoever creates it opens and closes the desk. Without `tokens` every caller is local."""
    desk, sessions = desk_route(desk_server(front, version=_version()))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sessions.run():
            yield

    app = Starlette(
        routes=[*routes(operations), desk],
        middleware=[
            Middleware(Gate, tokens=tokens, settings=front.settings),
            Middleware(WholeRequests, max_bytes=front.settings.max_body_bytes),
            # For bodies that do not say how long they are.
            Middleware(RequestBodyLimitMiddleware, max_body_size=front.settings.max_body_bytes),
        ],
        exception_handlers={
            StructuredError: problems.on_structured_error,
            HTTPException: problems.on_http_exception,
            Exception: problems.on_crash,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.front = front
    app.state.readiness = Readiness(front.desk)
    app.state.document = document(operations, version=_version())
    return app


def _version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0+source"
