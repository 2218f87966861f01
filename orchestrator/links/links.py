"""Connections to every server of a team: opened in parallel, kept open, and opened again when lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self, TextIO

from orchestrator.limits import LimiterStatistics
from orchestrator.links.breaker import Circuit
from orchestrator.links.calls import CallOutcome, ServerUnavailableError, failed
from orchestrator.links.definitions import ToolDefinition
from orchestrator.links.link import AddressStatus, OnCircuit, Route, ServerLink
from orchestrator.links.target import ChildTarget, Target, UrlTarget, child_environment
from orchestrator.models.protocol import JsonObject
from orchestrator.team import ServerEntry

__all__ = ["CallOutcome", "Circuit", "Route", "ServerLinks", "ServerUnavailableError", "ToolDefinition"]

CONNECT_SECONDS = 20.0
CLOSE_SECONDS = 7.0
"""Longest that ending a child which does not answer takes."""

COMMAND = "command"
"""Stands for the address of a server that is started here."""

logger = logging.getLogger(__name__)


class ServerLinks:
    """The servers of one team, by the names the team file gives them.

        async with ServerLinks(team.servers) as links:
            outcome = await links.call("billing", "get_refund", {"refund_id": "ref_1"}, meta={}, timeout=25)

    Entering begins to open all connections, in parallel, and waits for none: a call, or `unavailable()`,
    waits for those it needs. A server that cannot be reached does not stop the others and is tried again.
    """

    def __init__(
        self,
        servers: Mapping[str, ServerEntry],
        *,
        env: Mapping[str, str] | None = None,
        errlog: TextIO | None = None,
        connect_timeout: float = CONNECT_SECONDS,
        on_circuit: OnCircuit | None = None,
    ) -> None:
        """`env` goes to every child, on top of this process's SWITCHBOARD_* variables; `errlog` gets what
        children write to stderr, else it goes where this process's own goes. `on_circuit` is told when calls
        to a server stop going through, and when they do again.
        """
        self._servers = servers
        self._env = env or {}
        self._errlog = errlog
        self._connect_timeout = connect_timeout
        self._on_circuit = on_circuit
        self._links: dict[str, ServerLink] = {}

    async def __aenter__(self) -> Self:
        for name, entry in self._servers.items():
            link = ServerLink(
                name,
                entry,
                self._targets(name, entry),
                connect_timeout=self._connect_timeout,
                on_circuit=self._circuit_changed,
            )
            self._links[name] = link
            link.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(link.stop() for link in self._links.values()))

    async def unavailable(self, servers: Iterable[str] | None = None) -> dict[str, ServerUnavailableError]:
        """Those of `servers` (default: all) that cannot be reached, and why; waits for attempts under way."""
        names = list(self._links if servers is None else servers)
        found = await asyncio.gather(*(self._connection(name) for name in names))
        return {
            name: error
            for name, error in zip(names, found, strict=True)
            if isinstance(error, ServerUnavailableError)
        }

    def tools(self, server: str) -> dict[str, ToolDefinition]:
        """What the server offers, by tool name; empty if it was never reached."""
        link = self._links.get(server)
        return link.tools if link else {}

    def has_handoff(self, server: str) -> bool:
        """Whether the server takes handoffs itself."""
        link = self._links.get(server)
        return link is not None and link.has_handoff

    def max_in_flight(self, server: str) -> int:
        """What the server advertises, else the team file's `max_running`."""
        return self._links[server].statistics.max_running

    def statistics(self, server: str) -> LimiterStatistics:
        return self._links[server].statistics

    def addresses(self, server: str) -> list[AddressStatus]:
        """Where the server is reached, in order of preference, and whether calls go through."""
        return self._links[server].addresses

    async def call(
        self,
        server: str,
        tool: str,
        arguments: JsonObject,
        *,
        meta: JsonObject,
        timeout: float,
        deadline: float | None = None,
        route: Route | None = None,
    ) -> CallOutcome:
        """Call a tool once. No exception escapes; a failure of any kind is an outcome.

        `timeout` bounds the call itself. Waiting for a slot, as long again at most, and for the connection
        comes before it, until `deadline` on the event loop's clock, which also cuts the call short; by
        default `timeout` from now. Attempts that belong together share a `route`, so that each goes to
        another address of the server as long as there is one.
        """
        link = self._links.get(server)
        if link is None:
            return failed("unknown_server", f"the team file has no server {server}")
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + timeout
        return await link.call(
            tool, arguments, meta=meta, timeout=timeout, deadline=deadline, route=route or Route()
        )

    async def _connection(self, name: str) -> object:
        link = self._links.get(name)
        if link is None:
            return ServerUnavailableError(name, "the team file has no such server", retryable=False)
        longest_attempt = self._connect_timeout + CLOSE_SECONDS
        return await link.connection(asyncio.get_running_loop().time() + longest_attempt)

    def _circuit_changed(self, server: str, address: str, state: Circuit) -> None:
        level = logging.WARNING if state is Circuit.OPEN else logging.INFO
        logger.log(level, "server %s: the circuit of %s is %s", server, address, state.value)
        if self._on_circuit is not None:
            self._on_circuit(server, address, state)

    def _targets(self, name: str, entry: ServerEntry) -> list[tuple[str, Target]]:
        if entry.command is not None:
            child = ChildTarget(name, entry.command, child_environment(self._env), self._errlog)
            return [(COMMAND, child)]
        credential = (entry.credential_env, entry.credential_file)
        return [(url, UrlTarget(name, url, *credential)) for url in entry.urls]
