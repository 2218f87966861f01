"""Serving many hosts over streamable HTTP: `/mcp`, and `/healthz` and `/readyz` for whoever keeps it up.

Who may reach which of it is decided in `servers._auth`.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from handoff.errors import StructuredError
from handoff.whole_requests import WholeRequests
from servers._auth.calls import MAX_BODY_BYTES
from servers._auth.gate import Gate
from servers._auth.hosts import allowed_names
from servers._auth.resource import Resource
from servers._auth.settings import AccessSettings, is_loopback
from servers._hosting.readiness import readiness

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from servers._hosting.guard import GuardedServer

SHUTDOWN_SECONDS = 8
"""How long calls in work may still take after SIGTERM; containers are killed after ten."""


class AddressError(StructuredError):
    """The server cannot listen where it was told to."""

    code = "address_refused"


def http_app(
    server: GuardedServer, access: AccessSettings | None = None, *, host: str = "127.0.0.1"
) -> Starlette:
    """The ASGI app. Stateless also for hosts of the older protocol era: any replica answers any call.

    `host` is the address that is listened on. Raises: StructuredError when `access` cannot be used.
    """
    access = access or AccessSettings()
    names = allowed_names(host, access)
    resource = Resource(server.title or server.name, server.callers.scopes, access)
    credentials = access.opened() if access.asks_for_credentials else None
    app = server.streamable_http_app(
        stateless_http=True, transport_security=names, max_request_body_size=MAX_BODY_BYTES
    )
    app.router.routes.extend(_own_routes(server, resource if credentials is not None else None))
    app.add_middleware(WholeRequests, max_bytes=MAX_BODY_BYTES)
    # Added last, so that it is passed first: nothing is read of a request that it refuses.
    app.add_middleware(
        Gate,
        credentials=credentials,
        resource=resource,
        scopes=server.callers.scopes,
        names=names,
        settings=access,
    )
    return app


def _own_routes(server: GuardedServer, resource: Resource | None) -> list[Route]:
    async def healthz(_: Request) -> JSONResponse:
        return JSONResponse({"ok": True})

    async def readyz(_: Request) -> JSONResponse:
        found = await readiness(server.store)
        return JSONResponse(found, status_code=200 if found["ready"] else 503)

    async def metadata(request: Request) -> JSONResponse:
        assert resource is not None  # else its routes are not there
        return JSONResponse(resource.metadata(request.url.scheme, request.headers))

    told = [Route(path, metadata) for path in resource.metadata_paths] if resource is not None else []
    return [Route("/healthz", healthz), Route("/readyz", readyz), *told]


async def serve_http(
    server: GuardedServer,
    *,
    host: str,
    port: int,
    access: AccessSettings | None = None,
    listening: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM or SIGINT; calls in work are finished first. `listening` gets the URL.

    Raises: AddressError when the port is taken, or `host` is not loopback and no credentials are asked for;
    StructuredError when `access` cannot be used.
    """
    listener = open_listener(host, port, guarded=access is not None and access.asks_for_credentials)
    try:
        config = uvicorn.Config(
            http_app(server, access, host=host),
            http="h11",  # httptools does not trim header values, which the protocol demands
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
        listening(_url(listener))
        await _Server(config).serve(sockets=[listener])
    finally:
        listener.close()


def open_listener(host: str, port: int, *, guarded: bool = False) -> socket.socket:
    """A listening socket. Without access tokens only this machine may reach the server.

    Raises: AddressError
    """
    address = "127.0.0.1" if host == "localhost" else host
    if not guarded and not is_loopback(address):
        raise AddressError(
            "without access tokens HTTP is served on this machine only",
            field="--host",
            suggestion="give it a token file with --tokens, or use --host 127.0.0.1",
        )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, port), family=family, backlog=512)
        # Connections inherit it. asyncio sets it only on sockets that name their protocol, and without it an
        # answer's body waits 40 ms for the acknowledgement of its head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such port"
        raise AddressError(
            f"cannot listen on port {port}: {reason}", field="--port", suggestion="use another --port"
        ) from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/mcp" if ":" in host else f"http://{host}:{port}/mcp"


class _Server(uvicorn.Server):
    """uvicorn with an end that is graceful for MCP.

    uvicorn raises the signal again once it is done, which would kill the process before it has closed
    its store; and sse-starlette, which hooks uvicorn's signal handler, cuts every answer in work that
    is sent as a stream.
    """

    def stop(self) -> None:
        """Take no new calls and finish those in work; the second time, do not wait for them."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handled = (signal.SIGTERM, signal.SIGINT)
        try:
            with suppress(NotImplementedError):  # no signal handlers on this platform's loop
                for each in handled:
                    loop.add_signal_handler(each, self.stop)
            yield
        finally:
            with suppress(NotImplementedError):
                for each in handled:
                    loop.remove_signal_handler(each)
