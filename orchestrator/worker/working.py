"""Working until told to end: the desk opened, runs taken from the queue, and a graceful end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import structlog

from handoff.retention import sweeping
from orchestrator.desk import NAMESPACE, START_SECONDS, open_desk
from orchestrator.dispatch.choice import Dispatching, UnsharedStoreError, is_shared
from orchestrator.dispatch.protocol import MAX_RUNNING
from orchestrator.lifetime import told_to_end
from orchestrator.models.protocol import Model
from orchestrator.runs.waking import Waking
from orchestrator.team import Team

DRAIN_SECONDS = 5.0
"""How long runs may go on after SIGTERM before they are handed back to the queue."""

log = structlog.get_logger(__name__)


async def work(
    team: Team,
    *,
    model: Model,
    model_name: str,
    store_url: str,
    accept_loss: bool = False,
    max_running: int = MAX_RUNNING,
    drain_seconds: float = DRAIN_SECONDS,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Take runs from the queue of a Redis store until SIGTERM or SIGINT. `ready` is told when it begins.

    Raises: UnsharedStoreError; StructuredError when the store cannot be used.
    """
    if not is_shared(store_url):
        raise UnsharedStoreError(
            "workers share a Redis store, and this one is for a single process",
            field="--store",
            suggestion="use --store redis://host:6379/0 here and with `switchboard serve`",
        )
    told = asyncio.Event()
    dispatching = Dispatching(store_url, NAMESPACE, lambda *_: None)
    async with open_desk(
        team,
        model=model,
        model_name=model_name,
        store_url=store_url,
        accept_loss=accept_loss,
        on_step=dispatching.on_step,
        patience_seconds=START_SECONDS,
    ) as desk:
        dispatcher = dispatching.dispatcher(desk.runner, desk.journal, max_running=max_running, max_queued=0)
        waking = Waking(desk.decisions, dispatcher.submit)
        async with aclosing(dispatcher), sweeping([desk.store]), waking.running():
            taken_up = await dispatcher.recover()
            log.info("working", max_running=max_running, runs_taken_up=taken_up)
            with told_to_end(told.set):
                ready()
                await told.wait()
            await dispatcher.drain(drain_seconds)
