"""Beginning a run again from one of its steps: a new run that shares the past, and knows what came after.

The calls of the new run have tokens of their own, so what the first run did after that step can happen a
second time. That is why it is listed, and why a person has to say yes to it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from handoff.errors import JsonObject, StructuredError
from handoff.store import new_id
from orchestrator.runs.journal import Journal
from orchestrator.runs.state import RunState, is_ask, is_transfer
from orchestrator.runs.steps import (
    CallFinished,
    CallSent,
    Ended,
    HandoffPrepared,
    ModelReplied,
    Resumed,
    Step,
    Waiting,
    WorkerLost,
)
from orchestrator.team import Team
from orchestrator.tools import ToolBox

CONNECT_SECONDS = 20.0


class RetryError(StructuredError):
    """The run cannot be begun again from there."""

    code = "cannot_retry"


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that the run did, or may have done, after the step."""

    seq: int
    call: str
    outcome: str

    def to_json(self) -> JsonObject:
        return {"seq": self.seq, "call": self.call, "outcome": self.outcome}


@dataclass(frozen=True, slots=True)
class Fork:
    """The beginning of a new run, and what the first one did that the new one may do again."""

    step: int
    steps: list[Step]
    effects: list[Effect]


class Retrying:
    """Prepares new runs from the past of others."""

    def __init__(self, team: Team, tools: ToolBox, journal: Journal) -> None:
        self._team = team
        self._tools = tools
        self._journal = journal

    async def prepare(self, run_id: str, step: int | None) -> Fork:
        """What a new run from that step on begins with; None shares everything but the end.

        Raises: UnknownRunError, RetryError.
        """
        steps = await self._journal.steps(run_id)
        state = RunState.of(steps)
        if state.started.parent_run_id is not None:
            raise RetryError("this run is part of another one", suggestion="retry that one")
        at = len(steps) if step is None else step
        if at > len(steps):
            raise RetryError(f"the run has {len(steps)} steps", field="step")
        at = _boundary(steps, at)
        now = self._journal.now()
        started = state.started.model_copy(
            update={
                "run_id": new_id("run"),
                "created_at": now,
                "deadline_at": now + self._team.limits.run_seconds,
                "retry_of": run_id,
                "retry_step": at,
                "opens_session": False,
            }
        )
        return Fork(at, [started, *steps[1:at]], await self._effects(state, steps, at))

    async def _effects(self, state: RunState, steps: list[Step], at: int) -> list[Effect]:
        found: list[Effect] = []
        for seq, step in enumerate(steps[at:], start=at + 1):
            match step:
                case CallFinished() | Resumed():
                    found += await self._of_call(seq, step)
                case CallSent():
                    found.append(Effect(seq, step.name, "sent"))
                case _:
                    pass
        found += [
            Effect(len(steps), call["name"], "begun, outcome not known")
            for call in state.open_calls()
            if not is_transfer(call["name"])
        ]
        return found

    async def _of_call(self, seq: int, step: CallFinished | Resumed) -> list[Effect]:
        """The effects of one call; of an asked agent's run, all that it did."""
        if step.child_run_id is not None:
            child = await self._journal.steps(step.child_run_id)
            inner = await self._effects(RunState.of(child), child, 1)
            return [Effect(seq, f"{step.name}: {effect.call}", effect.outcome) for effect in inner]
        if is_ask(step.name) or (not step.ok and not step.unsettled):
            return []
        if isinstance(step, CallFinished) and step.only_reads:
            return []
        deadline = asyncio.get_running_loop().time() + CONNECT_SECONDS
        if step.server and step.tool and await self._tools.only_reads(step.server, step.tool, deadline):
            return []
        return [Effect(seq, step.name, "outcome not known" if step.unsettled else "done")]


def _boundary(steps: list[Step], at: int) -> int:
    """The last step up to `at` from which a run can go on by itself.

    Raises: RetryError when that is before its first turn, or lies in the middle of a decision.
    """
    while at > 1 and isinstance(steps[at - 1], Ended | HandoffPrepared | CallSent | WorkerLost):
        at -= 1
    if isinstance(steps[at - 1], ModelReplied) and at == len(steps) - 1 and _ends_with_words(steps[at - 1]):
        at -= 1  # the answer itself is what is tried again
    shared = RunState.of(steps[:at])
    if shared.ended is not None or any(isinstance(step, Waiting) for step in steps[:at]):
        raise RetryError(
            "a run that waited for a person is begun again from before it waited",
            field="step",
            suggestion="choose a step before the first `waiting`; see: switchboard runs show",
        )
    return at


def _ends_with_words(step: Step) -> bool:
    return isinstance(step, ModelReplied) and all(block.get("type") != "tool_use" for block in step.content)
