"""How long servers take to be ready, ours after a kill and their bare twin beside it."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from tests.soak.processes import Service, bare_command, gone, server_command, start
from tests.soak.wire import connections

MAX_RATIO = 1.7
ENOUGH_PAIRS = 5
"""Pairs of starts from which on their median says something."""
PAIR_EVERY = 5
"""How many of our starts there are to one of the twin."""


class Starts:
    """Starts of the ticketing server on one store, timed."""

    def __init__(self, store_url: str, directory: Path) -> None:
        self._command = server_command("ticketing", store_url)
        self._directory = directory
        self.ratios: list[float] = []
        self.seconds: list[float] = []

    async def again(self) -> Service:
        """Start our server, now and then its twin right before it."""
        beside_bare = len(self.seconds) % PAIR_EVERY == PAIR_EVERY - 1
        bare_seconds = await self._bare() if beside_bare else None
        service, seconds = await self._timed(self._command)
        self.seconds.append(seconds)
        if bare_seconds is not None:
            self.ratios.append(seconds / bare_seconds)
        return service

    def __str__(self) -> str:
        compared = f", {median(self.ratios):.2f}x of bare" if self.ratios else ""
        return f"ready after {median(self.seconds):.2f} s{compared}"

    def see_quick(self) -> None:
        """Ready again about as soon as a bare server would be."""
        if len(self.ratios) >= ENOUGH_PAIRS:
            assert median(self.ratios) <= MAX_RATIO

    async def _bare(self) -> float:
        service, seconds = await self._timed(bare_command())
        await service.kill()
        return seconds

    async def _timed(self, command: list[str]) -> tuple[Service, float]:
        began = time.perf_counter()
        service = await start(command, self._directory)
        try:
            async with connections(1) as http:
                await service.ready(http)
        except BaseException:
            await gone(service)
            raise
        return service, time.perf_counter() - began
