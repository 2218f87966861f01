"""What the orchestrator keeps of a customer: runs with their steps, escalations, memories, alerts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from handoff.erasure import ALL, Counts, ErasureError, Person, acquired, scanned, stream_of
from handoff.errors import JsonObject, VersionConflictError
from handoff.store import Delete, Store, Trim, Write
from orchestrator.alerts.outbox import ALERTS
from orchestrator.runs.cancels import CANCELS
from orchestrator.runs.escalations import AUDIT, ESCALATIONS
from orchestrator.runs.heads import RUNS
from orchestrator.runs.leases import LEASE_SECONDS
from orchestrator.runs.notebook import MEMORIES
from orchestrator.runs.swarm_state import SWARM_STATES
from orchestrator.runs.writing import STEPS

IN_WORK = ("queued", "running", "waiting_approval")

_TEXTS = ("input", "result", "request", "explanation", "answer_so_far", "note", "summary_before_window")
"""Fields of steps and escalations that hold what people wrote, or what was written to them."""


class RunBelongings:
    """The orchestrator's `Belongings`.

    A run is the customer's when it was made for them. One that was made for nobody in particular, as staff
    do, is theirs when it names them; one for another customer never is.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def collect(self, person: Person) -> None:
        for head in await self._heads(person):
            person.ids.update((head["run_id"], head["session_id"]))
            person.wrote(*_texts(await stream_of(self._store, STEPS, head["run_id"])))
        async for id, _, escalation in scanned(self._store, ESCALATIONS):
            if _is_theirs(person, escalation):
                person.ids.update((id, escalation["run_id"], escalation["session_id"]))
                person.wrote(*_texts(escalation))

    async def erase(self, person: Person, counts: Counts) -> None:
        for head in await self._heads(person):
            await self._bury(head["run_id"], counts)
        async for id, version, escalation in scanned(self._store, ESCALATIONS):
            if _is_theirs(person, escalation):
                await self._delete(ESCALATIONS, id, version, counts, Trim(AUDIT, id, ALL))
        async for key, version, _ in scanned(self._store, MEMORIES):
            if key.partition(":")[0] in person.ids:
                await self._delete(MEMORIES, key, version, counts)
        async for id, version, _ in scanned(self._store, SWARM_STATES):
            if id in person.ids:
                await self._delete(SWARM_STATES, id, version, counts)
        async for id, version, alert in scanned(self._store, ALERTS):
            if person.is_meant_by(alert):
                await self._delete(ALERTS, id, version, counts)

    async def in_work(self, person: Person) -> list[str]:
        """Runs of the person that have not ended; parts of another run go with it."""
        heads = [head for head in await self._heads(person) if head["status"] in IN_WORK]
        known = {head["run_id"] for head in heads}
        return [head["run_id"] for head in heads if head["parent_run_id"] not in known]

    async def _heads(self, person: Person) -> list[JsonObject]:
        """The heads of the person's runs, and of the runs of agents that these asked."""
        theirs: dict[str, JsonObject] = {}
        others: list[JsonObject] = []
        async for run_id, _, head in scanned(self._store, RUNS):
            if run_id in person.ids or await self._is_theirs(person, head):
                theirs[run_id] = head
            else:
                others.append(head)
        grown = True
        while grown:
            found = [head for head in others if head["parent_run_id"] in theirs]
            grown = any(head["run_id"] not in theirs for head in found)
            theirs |= {head["run_id"]: head for head in found}
        return list(theirs.values())

    async def _is_theirs(self, person: Person, head: JsonObject) -> bool:
        if head["customer_id"] is not None:
            return bool(head["customer_id"] == person.customer_id)
        return person.is_meant_by(await stream_of(self._store, STEPS, head["run_id"]))

    async def _bury(self, run_id: str, counts: Counts) -> None:
        """Leave nothing of a run but the numbers of its steps; nobody can be at work on it meanwhile."""
        lease = await acquired(self._store, f"run:{run_id}", patience=LEASE_SECONDS + 2)
        if lease is None:
            raise _in_work()
        try:
            head = await self._store.get(RUNS, run_id)
            if head is not None and head.data["status"] in IN_WORK:
                raise _in_work()
            steps = await stream_of(self._store, STEPS, run_id)
            writes: list[Write] = [Trim(STEPS, run_id, ALL), Delete(RUNS, run_id), Delete(CANCELS, run_id)]
            await self._store.commit(writes, fence=lease.fence, actor="erasure")
        finally:
            await self._store.release(lease)
        counts[RUNS] += 1
        counts[STEPS] += len(steps)

    async def _delete(self, collection: str, id: str, version: int, counts: Counts, *also: Trim) -> None:
        counts[collection] += 1
        try:
            await self._store.commit([Delete(collection, id, version), *also], actor="erasure")
        except VersionConflictError:
            return  # somebody was faster: the next round takes it as it is then


def _is_theirs(person: Person, escalation: JsonObject) -> bool:
    if escalation["run_id"] in person.ids or escalation["root_run_id"] in person.ids:
        return True
    return bool(escalation.get("customer_id") == person.customer_id)


def _in_work() -> ErasureError:
    return ErasureError(
        "a run of this customer is in work",
        suggestion="wait until it has ended, or cancel it: repeat the command with --cancel-runs",
    )


def _texts(value: Any) -> Iterable[str]:
    """What people wrote, wherever in the steps it stands."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name in _TEXTS and isinstance(each, str):
                yield each
            else:
                yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
