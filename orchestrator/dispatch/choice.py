"""Which dispatcher goes with a store: Redis is for many processes, a file is for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from handoff.errors import StructuredError
from orchestrator.dispatch.in_process import InProcessDispatcher
from orchestrator.dispatch.protocol import Dispatcher
from orchestrator.runs.journal import Journal
from orchestrator.runs.runner import Runner
from orchestrator.runs.steps import Ended, Step, Waiting
from orchestrator.runs.writing import OnStep
from orchestrator.team import ModelLimits

if TYPE_CHECKING:
    from orchestrator.dispatch.redis_line import RedisLine
    from orchestrator.dispatch.shared_quota import SharedQuota
    from orchestrator.dispatch.signals import Heard


def is_shared(store_url: str) -> bool:
    """Whether several processes may work on the runs of this store."""
    return store_url.partition("://")[0] in ("redis", "rediss")


@asynccontextmanager
async def shared_quota(
    store_url: str, namespace: str, bounds: ModelLimits
) -> AsyncIterator[SharedQuota | None]:
    """The quota of model calls that all processes on this store share; None where there is only one."""
    if not is_shared(store_url):
        yield None
        return
    from orchestrator.dispatch.shared_quota import SharedQuota

    async with aclosing(SharedQuota(store_url, namespace, bounds)) as quota:
        yield quota


class UnsharedStoreError(StructuredError):
    """The store is for a single process, and several are asked for."""

    code = "unshared_store"


class Dispatching:
    """Prepares for a dispatcher before the desk is open: steps are told of from the first one on.

    `heard` gets the id of each run that stepped, here or elsewhere, and whether it rests now; an empty id
    stands for any run.
    """

    def __init__(self, store_url: str, namespace: str, heard: Heard) -> None:
        self._heard = heard
        self._store_url = store_url
        self._namespace = namespace
        self._line: RedisLine | None = None

    @property
    def on_step(self) -> OnStep:
        """What the journal is to call for each step."""

        def tell(run_id: str, step: Step) -> None:
            rests = isinstance(step, Ended | Waiting)
            self._heard(run_id, rests)
            if self._line is not None:
                self._line.signals.send(run_id, rests=rests)

        return tell

    def dispatcher(
        self, runner: Runner, journal: Journal, *, max_running: int, max_queued: int
    ) -> Dispatcher:
        """The dispatcher; it begins with `recover`, and is closed when it has drained.

        Raises: UnsharedStoreError when no process at all would work on the runs.
        """
        if not is_shared(self._store_url):
            if not max_running:
                raise UnsharedStoreError(
                    "nobody else can work on runs that are kept in a file",
                    field="--max-running",
                    suggestion="use --max-running 1 or more, or a Redis store and `switchboard worker`",
                )
            return InProcessDispatcher(runner, journal, max_running=max_running, max_queued=max_queued)
        # Imported here, so that a process on one file does not load the client.
        from orchestrator.dispatch.on_redis import RedisDispatcher
        from orchestrator.dispatch.redis_line import RedisLine

        self._line = RedisLine(
            self._store_url, self._namespace, heard=self._heard, missed=lambda: self._heard("", True)
        )
        return RedisDispatcher(runner, journal, self._line, max_running=max_running, max_queued=max_queued)
