"""Serving the app: the desk opened, the unfinished runs taken up, and a graceful end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import structlog
import uvicorn

from handoff.errors import StructuredError
from handoff.retention import sweeping
from orchestrator.desk import NAMESPACE, START_SECONDS, open_desk
from orchestrator.dispatch.choice import Dispatching
from orchestrator.dispatch.protocol import MAX_QUEUED, MAX_RUNNING
from orchestrator.lifetime import told_to_end
from orchestrator.models.protocol import Model
from orchestrator.runs.sessions import Sessions
from orchestrator.runs.waking import Waking
from orchestrator.service.app import create_app
from orchestrator.service.front import Front
from orchestrator.service.intake import is_loopback
from orchestrator.service.settings import ServiceSettings
from orchestrator.service.tokens import Tokens
from orchestrator.service.watching import Watch
from orchestrator.team import Team

CONNECTIONS_SECONDS = 3
"""How long answers may still be on their way after SIGTERM; streams and waiting calls end at once."""
UNREAD_SECONDS = 30
"""After so long without its reader taking anything the system ends a connection."""

log = structlog.get_logger(__name__)


class AddressError(StructuredError):
    """The service cannot listen where it was told to."""

    code = "address_refused"


async def serve(
    team: Team,
    *,
    model: Model,
    model_name: str,
    store_url: str,
    accept_loss: bool = False,
    host: str = "127.0.0.1",
    port: int = 8080,
    tokens: Path | None = None,
    max_running: int = MAX_RUNNING,
    max_queued: int = MAX_QUEUED,
    settings: ServiceSettings | None = None,
    listening: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM or SIGINT. `listening` gets the URL once runs can be handed in.

    `accept_loss` is as for `open_store`.

    Raises: AddressError, TokenFileError, StructuredError when the store cannot be used.
    """
    settings = settings or ServiceSettings()
    known = Tokens(tokens) if tokens is not None else None
    listener = open_listener(host, port, guarded=known is not None)
    try:
        watch = Watch()
        dispatching = Dispatching(store_url, NAMESPACE, watch.stepped)
        async with open_desk(
            team,
            model=model,
            model_name=model_name,
            store_url=store_url,
            accept_loss=accept_loss,
            on_step=dispatching.on_step,
            patience_seconds=START_SECONDS,
        ) as desk:
            sessions = Sessions(team, desk.journal)
            dispatcher = dispatching.dispatcher(
                desk.runner, desk.journal, max_running=max_running, max_queued=max_queued
            )
            async with aclosing(dispatcher):
                front = Front(desk, dispatcher, sessions, watch, settings)
                taken_up = await dispatcher.recover()
                log.info("serving", url=_url(listener), runs_taken_up=taken_up)
                waking = Waking(desk.decisions, dispatcher.submit)
                watch.on_rest = waking.look
                async with sweeping([desk.store]), waking.running():
                    await _serve_until_told(create_app(front, tokens=known), listener, front, listening)
    finally:
        listener.close()


async def _serve_until_told(
    app: Callable[..., object], listener: socket.socket, front: Front, listening: Callable[[str], None]
) -> None:
    config = uvicorn.Config(
        app,
        http="h11",  # httptools does not trim header values, which MCP demands
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=CONNECTIONS_SECONDS,
    )
    draining: list[asyncio.Task[None]] = []

    def begin_to_drain() -> None:
        front.watch.close()
        drain = front.dispatcher.drain(front.settings.drain_seconds)
        draining.append(asyncio.create_task(drain, name="drain"))

    listening(_url(listener))
    await _Server(config, begin_to_drain).serve(sockets=[listener])
    # The server may also have ended without a signal.
    await asyncio.gather(*draining, front.dispatcher.drain(front.settings.drain_seconds))


def open_listener(host: str, port: int, *, guarded: bool) -> socket.socket:
    """A listening socket. Without tokens only this machine may reach the service.

    Raises: AddressError
    """
    address = "127.0.0.1" if host == "localhost" else host
    if not guarded and not is_loopback(address):
        raise AddressError(
            "without tokens the service is for this machine only",
            field="--host",
            suggestion="give it a token file with --tokens, or use --host 127.0.0.1",
        )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such port"
        raise AddressError(
            f"cannot listen on port {port}: {reason}", field="--port", suggestion="use another --port"
        ) from error
    # Connections inherit both. asyncio sets the first only on sockets that name their protocol, and these do
    # not; without it the body of an answer waits 40 ms for the acknowledgement of its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Closing one whose reader takes nothing would else wait for that reader.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn that tells when it begins to end, and leaves the process to close what it has open.

    uvicorn itself raises the signal once more when it is done, which would kill the process before that.
    """

    def __init__(self, config: uvicorn.Config, begin_to_drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._begin_to_drain = begin_to_drain

    def stop(self) -> None:
        """Take no new requests and finish those in work; the second time, do not wait for them."""
        if self.should_exit:
            self.force_exit = True
            return
        self.should_exit = True
        self._begin_to_drain()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with told_to_end(self.stop):
            yield
