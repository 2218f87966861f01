"""Serving many hosts over streamable HTTP: `/mcp`, and `/healthz` and `/readyz` for whoever keeps it up."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse

from handoff.errors import StructuredError
from servers._hosting.readiness import readiness

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from servers._hosting.guard import GuardedServer

SHUTDOWN_SECONDS = 8
"""How long calls in work may still take after SIGTERM; containers are killed after ten."""


class AddressError(StructuredError):
    """The server cannot listen where it was told to."""

    code = "address_refused"


def http_app(server: GuardedServer) -> Starlette:
    """The ASGI app. Stateless also for hosts of the older protocol era: any replica answers any call."""

    async def readyz(_: Request) -> JSONResponse:
        found = await readiness(server.store)
        return JSONResponse(found, status_code=200 if found["ready"] else 503)

    server.custom_route("/healthz", methods=["GET"])(_healthz)
    server.custom_route("/readyz", methods=["GET"])(readyz)
    return server.streamable_http_app(stateless_http=True)


async def serve_http(
    server: GuardedServer, *, host: str, port: int, listening: Callable[[str], None] = lambda _: None
) -> None:
    """Serve until SIGTERM or SIGINT; calls in work are finished first. `listening` gets the URL.

    Raises: AddressError when `host` is not loopback or the port is taken.
    """
    listener = open_listener(host, port)
    try:
        config = uvicorn.Config(
            http_app(server),
            http="h11",  # httptools does not trim header values, which the protocol demands
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
        listening(_url(listener))
        await _Server(config).serve(sockets=[listener])
    finally:
        listener.close()


def open_listener(host: str, port: int) -> socket.socket:
    """A listening socket on a loopback address: without access tokens nobody else may reach the server.

    Raises: AddressError
    """
    address = "127.0.0.1" if host == "localhost" else host
    if not _is_loopback(address):
        raise AddressError(
            "HTTP is served on this machine only, because there are no access tokens",
            field="--host",
            suggestion="use --host 127.0.0.1",
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


def _is_loopback(address: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(address).is_loopback
    return False


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/mcp" if ":" in host else f"http://{host}:{port}/mcp"


async def _healthz(_: Request) -> JSONResponse:
    return JSONResponse({"ok": True})


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
