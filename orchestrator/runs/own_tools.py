"""The loop's own tools: the notebook, the search for deferred tools, and the rest of a trimmed result."""

from __future__ import annotations

from orchestrator.links.calls import CallOutcome, failed
from orchestrator.models.protocol import JsonObject
from orchestrator.runs.exposure import FIND_TOOLS, find
from orchestrator.runs.notebook import NOTEBOOK_TOOLS
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import CallFinished
from orchestrator.runs.trimming import GET_REST, rest_of

OWN_TOOLS = NOTEBOOK_TOOLS | {FIND_TOOLS, GET_REST}


class OwnTools:
    """Answers calls that no server is asked for; like any other, each is written down."""

    def __init__(self, resources: Resources) -> None:
        self._with = resources

    async def call(self, state: RunState, call: JsonObject) -> CallFinished:
        """The outcome of one of `OWN_TOOLS`. Never raises for a failed call."""
        name, arguments = call["name"], call["input"]
        if name in NOTEBOOK_TOOLS:
            outcome = await self._note(state, call)
        elif name == FIND_TOOLS:
            pin = await self._with.journal.pin(state.pins[state.agent])
            outcome = find(pin, str(arguments.get("query", "")))
        else:
            outcome = rest_of(told_of(state), arguments, self._with.team.limits.result_tokens)
        return CallFinished(
            agent=state.agent,
            turn=state.turn,
            call_id=call["id"],
            name=name,
            tool=name,
            arguments=arguments,
            ok=outcome.ok,
            content=outcome.content,
            only_reads=name in (FIND_TOOLS, GET_REST),
        )

    async def _note(self, state: RunState, call: JsonObject) -> CallOutcome:
        """Write into the notebook, or read it, for an agent that has one."""
        if not self._with.team.agents[state.agent].notebook:
            return failed("not_allowed", f"agent {state.agent} has no notebook")
        return await self._with.notebook.call(
            call["name"],
            call["input"],
            run_id=state.started.root,
            session_id=state.started.session_id,
            agent=state.agent,
            key=state.key_of(call),
        )


def told_of(state: RunState) -> list[CallFinished]:
    """The calls whose results the holder was shown, at least in part: its own, and those of its handoff."""
    results = (state.handoff or {}).get("results")
    came = {str(result.get("call_id")) for result in results or [] if isinstance(result, dict)}
    return [call for call in state.calls if call.agent == state.agent or call.call_id in came]
