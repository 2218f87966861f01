"""Runs that the store holds and nobody has finished."""

from __future__ import annotations

from collections.abc import AsyncIterator

from handoff.store import Record
from orchestrator.runs.journal import Journal

UNFINISHED = ("running", "queued")


async def unfinished(journal: Journal) -> AsyncIterator[Record]:
    """Their heads, begun ones first, oldest first; without asked agents' runs, which their parents resume."""
    for status in UNFINISHED:
        cursor: str | None = None
        more = True
        while more:
            page = await journal.find("status", status, limit=100, cursor=cursor, newest_first=False)
            for head in page.records:
                yield head
            cursor = page.cursor
            more = cursor is not None
