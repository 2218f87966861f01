"""Connections to every server of a team: opened in parallel, kept open, and opened again when lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self, TextIO

from orchestrator.limits import LimiterStatistics
from orchestrator.links.calls import CallOutcome, ServerUnavailableError, failed
from orchestrator.links.connection import ToolDefinition
from orchestrator.links.link import ServerLink
from orchestrator.links.target import ChildTarget, Target, UrlTarget, child_environment
from orchestrator.models.protocol import JsonObject
from orchestrator.team import ServerEntry

__all__ = ["CallOutcome", "ServerLinks", "ServerUnavailableError", "ToolDefinition"]

CONNECT_SECONDS = 20.0
CLOSE_SECONDS = 7.0
"""Longest that ending a child which does not answer takes."""


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
    ) -> None:
        """`env` goes to every child, on top of this process's SWITCHBOARD_* variables; `errlog` gets what
        children write to stderr, else it goes where this process's own goes.
        """
        self._servers = servers
        self._env = env or {}
        self._errlog = errlog
        self._connect_timeout = connect_timeout
        self._links: dict[str, ServerLink] = {}

    async def __aenter__(self) -> Self:
        for name, entry in self._servers.items():
            link = ServerLink(name, entry, self._targets(name, entry), connect_timeout=self._connect_timeout)
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
        return self._links[server].limiter.max_running

    def statistics(self, server: str) -> LimiterStatistics:
        return self._links[server].limiter.statistics

    async def call(
        self,
        server: str,
        tool: str,
        arguments: JsonObject,
        *,
        meta: JsonObject,
        timeout: float,
        deadline: float | None = None,
    ) -> CallOutcome:
        """Call a tool once. No exception escapes; a failure of any kind is an outcome.

        `timeout` bounds the call itself. Waiting for a slot and for the connection comes before it, until
        `deadline` on the event loop's clock, which also cuts the call short; by default `timeout` from now.
        """
        link = self._links.get(server)
        if link is None:
            return failed("unknown_server", f"the team file has no server {server}")
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + timeout
        return await link.call(tool, arguments, meta=meta, timeout=timeout, deadline=deadline)

    async def _connection(self, name: str) -> object:
        link = self._links.get(name)
        if link is None:
            return ServerUnavailableError(name, "the team file has no such server", retryable=False)
        return await link.connection(asyncio.get_running_loop().time() + self._longest_attempt(name))

    def _longest_attempt(self, name: str) -> float:
        entry = self._servers[name]
        return self._connect_timeout * max(1, len(entry.urls)) + CLOSE_SECONDS

    def _targets(self, name: str, entry: ServerEntry) -> list[Target]:
        if entry.command is not None:
            return [ChildTarget(name, entry.command, child_environment(self._env), self._errlog)]
        return [UrlTarget(name, url, entry.credential_env) for url in entry.urls]
