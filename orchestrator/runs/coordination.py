"""A coordinator's turn: what its pattern does next, written down like a model's reply."""

from __future__ import annotations

import structlog

from handoff.errors import StructuredError
from orchestrator.models.protocol import JsonObject, Stop
from orchestrator.patterns.coordinator import call_of
from orchestrator.patterns.moves import Do, Done, GiveUp
from orchestrator.patterns.progress import Finding, Progress
from orchestrator.runs.endings import Endings
from orchestrator.runs.outcomes import Escalate
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import COORDINATOR, CallFinished, ModelReplied
from orchestrator.runs.swarm_state import EndedPart

PHASE_CHARACTERS = 200

log = structlog.get_logger(__name__)


class Coordination:
    """Takes the turns of coordinators. A turn costs nothing and is the same after a restart."""

    def __init__(self, resources: Resources, endings: Endings) -> None:
        self._with = resources
        self._endings = endings

    def coordinates(self, agent: str) -> bool:
        """Whether the agent is a coordinator."""
        return self._with.team.agents[agent].pattern is not None

    async def take(self, state: RunState, deadline: float) -> None:
        """Write down the pattern's next move, or end the run with a person."""
        pattern = self._with.team.agents[state.agent].pattern
        assert pattern is not None
        progress = progress_of(state)
        match pattern.next(progress):
            case Do(tasks):
                calls = [call_of(task) for task in tasks if task.name not in progress.findings]
                reply = self._reply(state, Stop.TOOLS).model_copy(update={"content": calls})
                await self._with.journal.append(state, reply)
                await self._shared(state, ", ".join(call["id"] for call in calls)[:PHASE_CHARACTERS])
            case Done(text, output):
                await self._shared(state, "done")
                await self._answer(state, text, output)
            case GiveUp(_, explanation, output) if state.pending:
                # A person has the part that is missing: with their answer the pattern goes on.
                await self._shared(state, "waiting for a person")
                await self._answer(state, explanation, output)
            case GiveUp(reason, explanation, output):
                await self._shared(state, "given up")
                move = Escalate(reason, explanation, output)
                await self._endings.escalate(state, move, deadline=deadline)

    async def _shared(self, state: RunState, phase: str) -> None:
        """Tell the shared state what the run is at, and how the tasks that ended since went."""
        parts = [_part(state, call) for call in state.calls[state.shared :]]
        try:
            await self._with.states.tell(state.started.root, parts, phase=phase)
        except StructuredError as error:
            log.warning("swarm_state_not_written", run_id=state.started.run_id, code=error.code)
        state.shared = len(state.calls)

    async def _answer(self, state: RunState, text: str, output: JsonObject | None) -> None:
        content = [{"type": "text", "text": text}]
        reply = self._reply(state, Stop.END).model_copy(update={"content": content, "output": output})
        await self._with.journal.append(state, reply)

    def _reply(self, state: RunState, stop: Stop) -> ModelReplied:
        # Numbered by the replies: a coordinator's turns do not count, and a call's key names its turn.
        turn = len(state.replies) + 1
        return ModelReplied(agent=state.agent, turn=turn, model=COORDINATOR, stop=stop.value, content=[])


def progress_of(state: RunState) -> Progress:
    """The request as this coordinator was given it, and how its tasks ended."""
    handoff = state.handoff or {}
    request = str(handoff.get("summary") or state.started.input)
    facts = handoff.get("facts")
    return Progress(
        request=request,
        facts=facts if isinstance(facts, dict) else {},
        findings={
            call.call_id: Finding(call.call_id, call.ok, call.content)
            for call in state.calls
            if call.agent == state.agent
        },
    )


def _part(state: RunState, call: CallFinished) -> EndedPart:
    error = {} if call.ok else Finding(call.call_id, False, call.content).error
    return EndedPart(
        key=call.child_run_id or f"{state.started.run_id}:{call.call_id}",
        agent=str(call.content.get("agent", state.agent)),
        is_run=call.child_run_id is not None,
        input_tokens=call.usage.get("input_tokens", 0),
        output_tokens=call.usage.get("output_tokens", 0),
        code=error.get("code"),
        message=error.get("message", ""),
    )
