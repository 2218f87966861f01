"""What the agents of one run know together: written by many at once, readable while they work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from pydantic import BaseModel, ConfigDict

from handoff.store import ABSENT, Put, Record, Store
from handoff.update import update

SWARM_STATES = "swarm-states"

MOST_ENTRIES = 500
"""Findings, decisions and errors kept of each kind; the oldest go first."""
ATTEMPTS = 12
"""Twenty agents that write in the same moment all get their turn within so many tries."""

log = structlog.get_logger(__name__)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class FoundFact(_Part):
    """Something an agent found."""

    key: str
    """Names the call it came with; the same call adds it once."""
    agent: str
    text: str
    at: float


class Decision(_Part):
    """Something an agent decided, and why."""

    key: str
    agent: str
    decision: str
    reason: str
    at: float


class Failure(_Part):
    """Something that went wrong, and what was done about it."""

    key: str
    agent: str
    code: str
    message: str
    recovery: str
    at: float


class TokenUse(_Part):
    """Tokens that one agent's finished parts used."""

    input_tokens: int = 0
    output_tokens: int = 0
    runs: int = 0


@dataclass(frozen=True, slots=True)
class EndedPart:
    """A part of the work that has ended, well or not."""

    key: str
    """The run's id, or run and call: names the part for ever."""
    agent: str
    """Who did it; of a tool's call, who made it."""
    is_run: bool = True
    """Whether an agent had a run of its own for it."""
    input_tokens: int = 0
    output_tokens: int = 0
    code: str | None = None
    """Why it failed; None when it went well."""
    message: str = ""


class SwarmState(_Part):
    """The shared state of a run, under the id of the run that all others belong to."""

    task_id: str
    phase: str = "started"
    findings: tuple[FoundFact, ...] = ()
    decisions: tuple[Decision, ...] = ()
    errors: tuple[Failure, ...] = ()
    token_usage: dict[str, TokenUse] = {}
    ended: tuple[str, ...] = ()
    """Parts that have ended: runs of asked agents by their ids, calls by run and call."""
    contention: int = 0
    """Updates that had to be made again because another agent's came first."""


Change = Callable[[SwarmState], SwarmState]


class SwarmStates:
    """The shared states of runs. Every change is a compare-and-swap: parallel agents lose none."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    async def get(self, run_id: str) -> SwarmState | None:
        """The state as it is now; None when the run has none."""
        record = await self._store.get(SWARM_STATES, run_id)
        return None if record is None else SwarmState.model_validate(record.data)

    async def find(self, run_id: str, *, key: str, agent: str, text: str) -> None:
        """Add a finding. Raises: ContentionError."""
        fact = FoundFact(key=key, agent=agent, text=text, at=self._clock())
        await self._change(run_id, lambda state: _with(state, "findings", fact))

    async def decide(self, run_id: str, *, key: str, agent: str, decision: str, reason: str) -> None:
        """Add a decision. Raises: ContentionError."""
        made = Decision(key=key, agent=agent, decision=decision, reason=reason, at=self._clock())
        await self._change(run_id, lambda state: _with(state, "decisions", made))

    async def tell(self, run_id: str, parts: Sequence[EndedPart], *, phase: str | None = None) -> None:
        """Add parts that have ended, each once however often it is told. Raises: ContentionError."""
        at = self._clock()

        def told(state: SwarmState) -> SwarmState:
            for part in parts:
                state = _ended(state, part, at)
            return state if phase is None else state.model_copy(update={"phase": phase})

        await self._change(run_id, told)

    async def _change(self, run_id: str, change: Change) -> None:
        tries = 0

        def transform(record: Record | None) -> Put:
            nonlocal tries
            tries += 1
            known = SwarmState(task_id=run_id) if record is None else SwarmState.model_validate(record.data)
            state = change(known)
            again = state.model_copy(update={"contention": state.contention + tries - 1})
            expected = ABSENT if record is None else record.version
            return Put(SWARM_STATES, run_id, again.model_dump(mode="json"), expected)

        await update(self._store, SWARM_STATES, run_id, transform, attempts=ATTEMPTS, actor="orchestrator")
        if tries > 1:
            log.info("swarm_state_contended", run_id=run_id, tries=tries)


def _with(state: SwarmState, part: str, entry: FoundFact | Decision | Failure) -> SwarmState:
    entries = getattr(state, part)
    if any(known.key == entry.key for known in entries):
        return state
    return state.model_copy(update={part: (*entries, entry)[-MOST_ENTRIES:]})


def _ended(state: SwarmState, part: EndedPart, at: float) -> SwarmState:
    if part.key in state.ended:
        return state
    used = state.token_usage.get(part.agent, TokenUse())
    more = TokenUse(
        input_tokens=used.input_tokens + part.input_tokens,
        output_tokens=used.output_tokens + part.output_tokens,
        runs=used.runs + 1,
    )
    counted = {**state.token_usage, part.agent: more} if part.is_run else state.token_usage
    told = state.model_copy(update={"ended": (*state.ended, part.key), "token_usage": counted})
    if part.code is None:
        return told
    failure = Failure(
        key=part.key,
        agent=part.agent,
        code=part.code,
        message=part.message,
        recovery="the other parts go on without it",
        at=at,
    )
    return _with(told, "errors", failure)
