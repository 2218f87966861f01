"""Guardrails in a run: what they say is written down, and what follows from it is done."""

from __future__ import annotations

from dataclasses import asdict, replace

import structlog

from orchestrator.guardrails.answers import bare_json, wrong_with
from orchestrator.guardrails.subjects import Answer as Drafted
from orchestrator.guardrails.subjects import Call, Case, Finding, Request, Result
from orchestrator.guardrails.verdicts import Named, Place, Verdict
from orchestrator.models.protocol import JsonObject
from orchestrator.plain_text import plain
from orchestrator.runs import budget
from orchestrator.runs.outcomes import Answer, Move, Turn, Wait
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import CallFinished, Ended, Guarded, Resumed
from orchestrator.runs.validation import Validation
from orchestrator.tools import SEPARATOR, ToolOutcome

NOT_TAKEN = "I cannot help with this request"
WITHHELD = "I may not tell you what I found. Please ask in another way, or ask for a person."
ANSWER_SCHEMA = "answer_schema"
"""Stands for an agent's schema where others name their guardrail."""

log = structlog.get_logger(__name__)


class Guarding:
    """Puts requests, calls, results and answers of runs through the guardrails of the agent at work."""

    def __init__(self, resources: Resources, validation: Validation) -> None:
        self._with = resources
        self._validation = validation

    async def passed(self, state: RunState, move: Move, deadline: float) -> Move | None:
        """The move as it may be made; None when a guardrail had the last word, and the run is asked again."""
        match move:
            case Turn() if not state.replies:
                return move if await self._admits(state) else None
            case Answer(text, _) | Wait(text):
                left = await self._answer(state, text, deadline)
                return None if left is None else replace(move, text=left)
            case _:
                return move

    async def _admits(self, state: RunState) -> bool:
        """Whether the run may begin its work; if not, it has ended or a person takes over."""
        if self._with.checks.of(state.agent).is_empty:
            return True
        request = Request(state.request, case_of(state))
        left, said = await self._with.checks.of(state.agent).request(request)
        for each in said:
            text = left.text if each.verdict.action == "redact" else None
            await self._note(state, "input", each, text=text)
        match _last(said):
            case Verdict("refuse" | "repair", reason):
                ended = Ended(status="completed", result=f"{NOT_TAKEN}: {reason}.", reason="guardrail")
                await self._with.journal.append(state, ended)
                return False
            case Verdict("escalate"):
                return False
            case _:
                return True

    async def call(self, state: RunState, call: JsonObject) -> JsonObject | ToolOutcome:
        """The arguments to send, or what the agent gets in place of a result."""
        server, _, tool = call["name"].partition(SEPARATOR)
        if not self._with.team.agents[state.agent].may_call(server, tool):
            return dict(call["input"])  # refused for a plainer reason where calls are made
        if self._with.checks.of(state.agent).is_empty:
            return dict(call["input"])
        wanted = Call(server, tool, call["input"], case_of(state))
        left, said = await self._with.checks.of(state.agent).call(wanted)
        for each in said:
            await self._note(state, "tool_call", each, call=call)
        last = _last(said)
        if last is None or last.action in ("allow", "redact"):
            return left.arguments
        return ToolOutcome(False, _refused(last), server, tool, 0, 0.0)

    async def result(self, state: RunState, call: JsonObject, outcome: ToolOutcome) -> ToolOutcome:
        """The outcome as the agent may see it."""
        if self._with.checks.of(state.agent).is_empty:
            return outcome
        got = Result(outcome.server, outcome.tool, outcome.content, outcome.ok, case_of(state))
        left, said = await self._with.checks.of(state.agent).result(got)
        for each in said:
            await self._note(state, "tool_result", each, call=call)
        last = _last(said)
        if last is None or last.action in ("allow", "redact"):
            return replace(outcome, content=left.content)
        return replace(outcome, ok=False, content=_withheld(last, done=outcome.ok))

    async def _answer(self, state: RunState, text: str, deadline: float) -> str | None:
        """The answer as it may go out; None when the run goes on instead, or has ended."""
        schema = self._with.team.agents[state.agent].answer_schema
        if schema is not None:
            if (wrong := wrong_with(text, schema)) is not None:
                failed = Named(ANSWER_SCHEMA, Verdict("repair", wrong))
                await self._note(state, "answer", self._mended(state, failed))
                return None
            text = bare_json(text)
        left, said = await self._with.checks.of(state.agent).answer(Drafted(plain(text), case_of(state)))
        for each in said:
            await self._note(state, "answer", self._mended(state, each))
        last = _last(said)
        if last is not None and last.action == "refuse":
            ended = Ended(status="completed", result=WITHHELD, reason="guardrail")
            await self._with.journal.append(state, ended)
        if last is not None and last.action not in ("allow", "redact"):
            return None
        return left.text if await self._validated(state, left.text, deadline) else None

    async def _validated(self, state: RunState, text: str, deadline: float) -> bool:
        """Whether the agent's validator lets the answer go out; where there is none, it does."""
        validator = self._with.team.agents[state.agent].validator
        if validator is None:
            return True
        verdict, child = await self._validation.verdict(state, validator, text, deadline)
        named = self._mended(state, Named(validator, verdict))
        await self._with.journal.append(state, _guarded(state, "answer", named, child=child))
        return verdict.action == "allow"

    def _mended(self, state: RunState, said: Named) -> Named:
        """One repair of an agent's answer; the second time a person takes over."""
        if said.verdict.action != "repair":
            return said
        coordinates = self._with.team.agents[state.agent].pattern is not None
        if coordinates or any(
            each.action == "repair" and each.agent == state.agent for each in state.guarded
        ):
            return Named(said.guardrail, replace(said.verdict, action="escalate"))
        return said

    async def _note(
        self,
        state: RunState,
        place: Place,
        said: Named,
        *,
        call: JsonObject | None = None,
        text: str | None = None,
    ) -> None:
        """Write it down, unless the worker before has: checks are made again after a restart."""
        step = _guarded(state, place, said, call=call, text=text)
        if step in state.guarded:
            return
        log.info(
            "guardrail",
            run_id=state.started.run_id,
            guardrail=said.guardrail,
            place=place,
            action=said.verdict.action,
        )
        await self._with.journal.append(state, step)


def case_of(state: RunState) -> Case:
    """What guardrails may know of a run."""
    earlier = (state.conversation or {}).get("exchanges", [])
    answered: list[CallFinished | Resumed] = [*state.calls, *state.resumed.values()]
    return Case(
        run_id=state.started.run_id,
        agent=state.agent,
        customer_id=state.started.customer_id,
        said=(state.started.words, *(str(each.get("request", "")) for each in earlier)),
        findings=tuple(
            Finding(call.server, call.tool, call.arguments, call.content)
            for call in answered
            if call.ok and call.server is not None and call.tool is not None
        ),
    )


def _guarded(
    state: RunState,
    place: Place,
    said: Named,
    *,
    call: JsonObject | None = None,
    text: str | None = None,
    child: RunState | None = None,
) -> Guarded:
    return Guarded(
        guardrail=said.guardrail,
        place=place,
        action=said.verdict.action,
        reason=said.verdict.reason,
        agent=state.agent,
        turn=state.turn,
        call_id=call["id"] if call else None,
        call=call["name"] if call else None,
        text=text,
        child_run_id=child.started.run_id if child else None,
        turns=child.turns if child else 0,
        usage=asdict(child.usage()) if child else {},
        cost_usd=budget.cost_of(child) if child else None,
    )


def _last(said: list[Named]) -> Verdict | None:
    return said[-1].verdict if said else None


def _refused(verdict: Verdict) -> JsonObject:
    to_person = verdict.action == "escalate"
    return {
        "code": "needs_person" if to_person else "refused_by_guardrail",
        "message": verdict.reason,
        "retryable": False,
        "suggestion": "a person takes over" if to_person else "do not repeat the call unchanged",
    }


def _withheld(verdict: Verdict, *, done: bool) -> JsonObject:
    return {
        "code": "result_withheld",
        "message": verdict.reason,
        "retryable": False,
        "call_succeeded": done,
        "suggestion": "go on without this result, or ask for a person",
    }
