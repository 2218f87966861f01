"""The public keys of whoever issues JWTs, from a file or a URL, kept and asked for again in moderation."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
from jwt import PyJWK, PyJWKSet
from jwt.exceptions import PyJWKError, PyJWKSetError

from handoff.errors import StructuredError

logger = logging.getLogger(__name__)

FRESH_SECONDS = 600.0
"""How long keys are used before they are asked for again."""
RETRY_SECONDS = 30.0
"""Least time between two attempts, whatever tokens with unknown keys come in."""
FETCH_SECONDS = 5.0
MOST_BYTES = 256 * 1024


class KeysUnavailableError(StructuredError):
    """There are no keys to check a token with."""

    code = "keys_unavailable"
    retryable = True


class IssuerKeys:
    """The keys by their id. `place` is a URL or the path of a file with a JSON Web Key Set."""

    def __init__(self, place: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._place = place
        self._clock = clock
        self._keys: dict[str, PyJWK] = {}
        self._tried_at = -math.inf
        self._fetched_at: float | None = None
        self._fetching = asyncio.Lock()

    async def key(self, id: str) -> PyJWK | None:
        """The key with that id; None when the issuer has none.

        Raises: KeysUnavailableError when no key was ever read.
        """
        if id not in self._keys or not self._are_fresh():
            await self._refresh(id)
        if self._fetched_at is None:
            raise KeysUnavailableError(
                "the issuer's keys cannot be read now",
                suggestion="repeat the request a little later; the operator finds the reason in the log",
                retry_after_seconds=RETRY_SECONDS,
            )
        return self._keys.get(id)

    def _are_fresh(self) -> bool:
        return self._fetched_at is not None and self._clock() - self._fetched_at < FRESH_SECONDS

    async def _refresh(self, id: str) -> None:
        async with self._fetching:
            if id in self._keys and self._are_fresh():
                return  # another request brought them meanwhile
            if self._clock() - self._tried_at < RETRY_SECONDS:
                return
            self._tried_at = self._clock()
            try:
                self._keys = _parsed(await self._read())
            except (OSError, ValueError, httpx2.HTTPError, PyJWKSetError, PyJWKError) as error:
                # Keys that were good go on being good: an issuer that is away must not lock everybody out.
                logger.error("the keys of the issuer cannot be read: %s", type(error).__name__)
                return
            self._fetched_at = self._clock()

    async def _read(self) -> bytes:
        if not self._place.startswith(("https://", "http://")):
            return await asyncio.to_thread(Path(self._place).read_bytes)
        async with (
            httpx2.AsyncClient(timeout=FETCH_SECONDS) as http,
            http.stream("GET", self._place, headers={"accept": "application/json"}) as response,
        ):
            response.raise_for_status()
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise ValueError("the key set is too long")
            return body


def _parsed(text: bytes) -> dict[str, PyJWK]:
    found = PyJWKSet.from_dict(json.loads(text))
    return {key.key_id: key for key in found.keys if key.key_id is not None}
