"""One run taken to its end by one process, whichever way it came there."""

from __future__ import annotations

import asyncio
from typing import Literal

import structlog

from handoff.errors import StoreError
from handoff.store import Locks
from orchestrator.alerts.alerts import AlertKind
from orchestrator.runs.closing import BROKEN, cancel_run, close_run
from orchestrator.runs.journal import Journal, UnknownRunError
from orchestrator.runs.leases import RunHeldError
from orchestrator.runs.runner import Runner
from orchestrator.runs.state import RunState

MOST_CRASHES = 3
"""Times one process takes up a run that ends its worker's work with an unexpected failure."""

Came = Literal["done", "again", "suspended"]
"""What came of a try: the run rests; it has to be tried again later; or it waits for runs that it queued."""

log = structlog.get_logger(__name__)


class RunWork:
    """Takes runs to their end; what a run does to its worker stays with that run."""

    def __init__(self, runner: Runner, journal: Journal) -> None:
        self._runner = runner
        self._journal = journal
        self._locks = Locks()
        self._suspects = asyncio.Lock()
        self._crashes: dict[str, int] = {}

    async def take(self, run_id: str) -> Came:
        """Take the run as far as it goes by itself."""
        try:
            async with self._locks.of("runs", run_id):
                state = await self._journal.load(run_id)
                if state.ended is None:
                    if state.lost_workers:
                        await self._get_past(run_id)
                    state = await self._runner.resume(run_id)
        except UnknownRunError:
            log.error("run_unknown", run_id=run_id)
        except RunHeldError:
            return "again"
        except StoreError as error:
            log.error("run_interrupted", run_id=run_id, code=error.code)
            return "again"
        except Exception:
            log.exception("run_crashed", run_id=run_id)
            return "again" if await self._crashed(run_id) else "done"
        else:
            self._crashes.pop(run_id, None)
            return "suspended" if state.suspended else "done"
        return "done"

    async def cancel(self, run_id: str) -> RunState:
        """Stop the run, whoever works on it, and write that down; an ended run stays as it ended.

        Raises: UnknownRunError; RunHeldError when its worker neither stops nor dies.
        """
        self._crashes.pop(run_id, None)
        return await cancel_run(self._journal, run_id)

    async def _get_past(self, run_id: str) -> None:
        """Do the step at which the run lost a worker, beside no other such step.

        So the next loss names the guilty one; and a run that got past it holds the others up no longer.
        """
        async with self._suspects:
            await self._runner.advance(run_id)

    async def _crashed(self, run_id: str) -> bool:
        """Whether the run is worth another try after an unexpected failure; otherwise it is ended."""
        crashes = self._crashes.get(run_id, 0) + 1
        self._crashes[run_id] = crashes
        if crashes < MOST_CRASHES:
            return True
        del self._crashes[run_id]
        try:
            async with self._locks.of("runs", run_id):
                await close_run(self._journal, run_id, status="failed", reason="internal_error", words=BROKEN)
        except Exception:
            log.exception("run_not_closed", run_id=run_id)
        self._runner.alerts.tell(
            AlertKind.RUN_PARKED, "a run was ended that breaks its workers", run_id=run_id
        )
        return False
