"""Callers who hang up in the middle of a request: the server goes on, and its log stays quiet."""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import urlsplit

import httpx2
import pytest

from handoff.sqlite.store import SqliteStore
from tests.servers.test_http import served, site

WAIT_SECONDS = 20.0
ERAS = {"modern": "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/list\r\n"}


@pytest.mark.parametrize("era", ["modern", "legacy", "nothing_sent"])
async def test_a_caller_who_hangs_up_in_the_middle_leaves_no_trace(
    store: SqliteStore, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    sent = b"" if era == "nothing_sent" else b'{"jsonrpc": "2.0", "id": 1, "method": "tools/'
    async with served(store) as (url, _, _), httpx2.AsyncClient() as http:
        with caplog.at_level(logging.DEBUG, "handoff.whole_requests"):
            await hang_up(url, ERAS.get(era, ""), sent)
            async with asyncio.timeout(WAIT_SECONDS):
                while "hung up" not in caplog.text:  # noqa: ASYNC110 a log has no event
                    await asyncio.sleep(0.01)
        after = await http.get(f"{site(url)}/readyz")
    assert after.status_code == 200
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def hang_up(url: str, headers: str, sent: bytes) -> None:
    """Announce more than is sent, and close."""
    place = urlsplit(url)
    _, writer = await asyncio.open_connection(place.hostname, place.port)
    head = (
        f"POST /mcp HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-type: application/json\r\n"
        f"accept: application/json, text/event-stream\r\n{headers}content-length: 500\r\n\r\n"
    )
    writer.write(head.encode() + sent)
    await writer.drain()
    writer.close()
