"""The quota of model calls that all processes on one Redis share.

A slot ends by itself when its call can no longer be going on, so a worker that died holds nothing up. When
Redis cannot be reached each process goes on by its own limits: its store is gone too, and runs stop there.
"""

from __future__ import annotations

import random
from importlib import resources
from typing import Any

import structlog

from orchestrator.dispatch.redis_client import FAULTS, key_of, open_client
from orchestrator.model_calls import HOLD_SECONDS
from orchestrator.team import ModelLimits

log = structlog.get_logger(__name__)


class SharedQuota:
    """One process's way to the shared quota."""

    def __init__(self, url: str, namespace: str, bounds: ModelLimits) -> None:
        self._client = open_client(url)
        self._keys = [key_of(namespace, "model-slots"), key_of(namespace, "model-pace")]
        text = resources.files(__package__).joinpath("quota.lua").read_text("utf-8")
        self._script = self._client.register_script(text)
        self._bounds = (
            bounds.max_running,
            bounds.calls_per_minute or 0,
            bounds.tokens_per_minute or 0,
        )
        self._reachable = True

    async def take(self, slot: str, *, tokens: int, seconds: float) -> float:
        """Take a slot for that long: 0, or after how many seconds to ask again."""
        milliseconds = await self._run("take", slot, seconds, tokens)
        # Not all at the same moment, or those who asked last would have as much luck as those who wait.
        return 0.0 if not milliseconds else milliseconds / 1000 * random.uniform(0.5, 1.0)

    async def give_back(self, slot: str, *, tokens: int, congested: bool) -> None:
        """Let go of it; `tokens` were used beyond those that were asked for."""
        await self._run("refused" if congested else "give", slot, 0, tokens)

    async def congested(self) -> None:
        """The provider refuses calls: everybody slows down."""
        await self._run("lower", "", 0, 0)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _run(self, verb: str, slot: str, seconds: float, tokens: int) -> int:
        words: list[Any] = [verb, slot, seconds, *self._bounds, tokens, HOLD_SECONDS]
        try:
            answer = int(await self._script(keys=self._keys, args=words))
        except FAULTS as error:
            if self._reachable:
                log.warning("quota_unreachable", reason=type(error).__name__)
            self._reachable = False
            return 0
        self._reachable = True
        return answer
