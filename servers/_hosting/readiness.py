"""Whether a server can do its work now: what `/readyz` answers."""

from __future__ import annotations

import asyncio
import logging

from handoff.errors import JsonObject, StoreUnavailableError, StructuredError
from handoff.store import Store

logger = logging.getLogger(__name__)

READY_SECONDS = 2.0
"""How long the store may take to answer before the server says it is not ready."""


async def readiness(store: Store) -> JsonObject:
    """`ready`, and if it is false `reason`: the store's error, which says what is wrong and what to do."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            await store.ping()
    except (StructuredError, TimeoutError) as failure:
        error = failure if isinstance(failure, StructuredError) else _silent()
        logger.warning("not ready: %s", error.message)
        return {"ready": False, "reason": error.to_json()}
    return {"ready": True}


def _silent() -> StoreUnavailableError:
    return StoreUnavailableError(
        f"the store did not answer within {READY_SECONDS:g} s",
        suggestion="see that its disk or its server is not overloaded",
    )
