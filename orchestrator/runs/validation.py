"""An agent that checks another's answer before it goes out, as a run of its own."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable

from orchestrator.guardrails.verdicts import Verdict
from orchestrator.models.protocol import JsonObject
from orchestrator.runs import budget
from orchestrator.runs.resources import Resources
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import Started

RunChild = Callable[[Started], Awaitable[RunState]]

TASK = "Check the drafted answer among the facts against the request and the results. Do nothing else."
MOST_RESULTS = 10
MOST_CHARACTERS = 4_000
"""Of one result."""
_MARGIN_SECONDS = 1.0


class Validation:
    """Has answers checked by agents. The check of one answer is one run, also after a restart."""

    def __init__(self, resources: Resources, run_child: RunChild) -> None:
        self._with = resources
        self._run_child = run_child

    async def verdict(
        self, state: RunState, validator: str, text: str, deadline: float
    ) -> tuple[Verdict, RunState]:
        """What the validator says, and its run. An answer that could not be checked does not go out."""
        child = await self._run_child(self._started(state, validator, text, deadline))
        ended = child.resting
        if ended is None or ended.status != "completed" or ended.reason is not None:
            return Verdict("escalate", f"{validator} could not check the answer"), child
        said = json.loads(ended.result)  # it fits the schema of validators, or the run had not completed
        if said["ok"]:
            return Verdict("allow", f"{validator} found nothing wrong"), child
        return Verdict("repair", str(said.get("reason") or f"{validator} refused the answer")), child

    def _started(self, state: RunState, validator: str, text: str, deadline: float) -> Started:
        now = self._with.clock()
        left = deadline - asyncio.get_running_loop().time()
        name = uuid.uuid5(uuid.NAMESPACE_URL, f"{state.started.run_id}:{state.turn}:validation")
        results = [_trimmed(call.name, call.ok, call.content) for call in state.calls[-MOST_RESULTS:]]
        return Started(
            run_id=f"run_{name.hex}",
            session_id=state.started.session_id,
            customer_id=state.started.customer_id,
            principal=state.started.principal,
            input=TASK,
            agent=validator,
            created_at=now,
            deadline_at=now + left - min(_MARGIN_SECONDS, left / 4),
            turns=max(1, state.started.turns - state.turns),
            hops=0,
            handoff={
                "from": state.agent,
                "summary": TASK,
                "facts": {"answer": text},
                "results": results,
                "request": state.started.words,
            },
            parent_run_id=state.started.run_id,
            ancestors=(*state.started.ancestors, *state.path),
            **budget.share(state),
        )


def _trimmed(name: str, ok: bool, content: JsonObject) -> JsonObject:
    text = json.dumps(content, ensure_ascii=False)
    if len(text) <= MOST_CHARACTERS:
        return {"call": name, "ok": ok, "content": content}
    return {"call": name, "ok": ok, "content_start": text[:MOST_CHARACTERS]}
