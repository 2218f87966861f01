"""Whether the service can take runs, and what is missing when it cannot."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

import httpx2

from handoff.errors import StructuredError
from orchestrator.desk import Desk
from orchestrator.team import ServerEntry

PATIENCE_SECONDS = 2.0
"""How long the store and each server may take to answer."""
KEEP_SECONDS = 1.0
"""How long a finding counts, so that asking often costs the servers nothing."""


class Readiness:
    """Looks at the store and at every server, at most once a second however often it is asked."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._looking: asyncio.Task[dict[str, str]] | None = None
        self._looked_at = 0.0

    async def missing(self) -> dict[str, str]:
        """What is missing, and why: `store`, or a server's name."""
        now = asyncio.get_running_loop().time()
        if self._looking is None or (self._looking.done() and now - self._looked_at > KEEP_SECONDS):
            self._looking = asyncio.create_task(self._look(), name="readiness")
            self._looked_at = now
        return await asyncio.shield(self._looking)

    async def reasons(self) -> dict[str, str]:
        """Servers that cannot be used now, and why."""
        return {name: reason for name, reason in (await self.missing()).items() if name != "store"}

    async def _look(self) -> dict[str, str]:
        servers = self._desk.team.servers
        async with httpx2.AsyncClient(timeout=PATIENCE_SECONDS) as http:
            found = await asyncio.gather(
                self._store(), *(self._server(name, entry, http) for name, entry in servers.items())
            )
        named = zip(("store", *servers), found, strict=True)
        return {name: reason for name, reason in named if reason is not None}

    async def _store(self) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._desk.store.ping()
        except StructuredError as error:
            return f"{error.message}; {error.suggestion}" if error.suggestion else error.message
        except TimeoutError:
            return "it does not answer"
        return None

    async def _server(self, name: str, entry: ServerEntry, http: httpx2.AsyncClient) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                unavailable = await self._desk.links.unavailable([name])
        except TimeoutError:
            return "it is not connected yet"
        if name in unavailable:
            return unavailable[name].reason
        if not entry.urls:
            return None
        # A connection over HTTP does not tell that the other side has gone: somebody has to ask.
        reasons = [await _asked(http, url) for url in entry.urls]
        return None if None in reasons else reasons[0]


async def _asked(http: httpx2.AsyncClient, url: str) -> str | None:
    """Why the server at this URL cannot be used; one without a readiness of its own only has to answer."""
    place = urlsplit(url)
    try:
        answer = await http.get(urlunsplit((place.scheme, place.netloc, "/readyz", "", "")))
    except httpx2.HTTPError as error:
        return f"nobody answers at {place.netloc} ({type(error).__name__})"
    return told_by(answer) if answer.status_code == 503 else None


def told_by(answer: httpx2.Response) -> str:
    """Why a server says that it is not ready, in its own words if it has any."""
    with suppress(ValueError, KeyError, TypeError):
        reason = answer.json()["reason"]
        message, suggestion = str(reason["message"]), reason.get("suggestion")
        return f"{message}; {suggestion}" if suggestion else message
    return "it is not ready"
