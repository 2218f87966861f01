"""Long conversations begun afresh: what an agent's messages held, distilled without a model.

The summary is a fold of the run's steps, so it is the same however often it is made; it is written down as
a step of its own, and a run that goes on after a restart goes on from it.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.models.protocol import JsonObject
from orchestrator.runs.exposure import FIND_TOOLS
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import CallFinished, Compacted
from orchestrator.runs.trimming import GET_REST, carried, tokens_of

RESULT_TOKENS = 1_000
"""How much of one result a summary holds."""
MOST_RESULTS = 40
MOST_IDS = 50
MOST_SAID = 8
ID_CHARACTERS = 64
SAID_CHARACTERS = 600
QUESTION_CHARACTERS = 400


def compaction(state: RunState, most_tokens: int | None) -> Compacted | None:
    """The step that begins the holder's messages afresh; None while they are short enough."""
    if most_tokens is None or len(state.messages) < 3 or state.messages[-1]["role"] != "user":
        return None
    tokens = tokens_of(state.messages)
    if tokens <= most_tokens:
        return None
    return Compacted(
        agent=state.agent, turn=state.turns + 1, tokens=tokens, so_far=_distilled(state, most_tokens // 2)
    )


def _distilled(state: RunState, most_tokens: int) -> JsonObject:
    """Facts, decisions, open questions and ids, no longer than that."""
    calls = [
        call for call in state.calls[state.trying.held_from :] if call.name not in (FIND_TOOLS, GET_REST)
    ]
    done = [call for call in calls if call.ok and not call.only_reads]
    known = _newest_of_each([call for call in calls if call.ok and call.only_reads])
    told: JsonObject = {
        "decisions": [*carried(done[-MOST_RESULTS:], most_tokens // 2), *_resumed(state)],
        "open_questions": [*_asked(state), *_failed(calls)],
        "ids": _ids(calls),
        "said": list(_said(state))[-MOST_SAID:],
    }
    left = max(0, most_tokens - tokens_of(told))
    facts: list[CallFinished] = []
    for call in reversed(known[-MOST_RESULTS:]):
        if left <= 0:
            break
        facts.insert(0, call)
        left -= tokens_of(carried([call], RESULT_TOKENS))
    return {"facts": carried(facts, max(1, most_tokens - tokens_of(told))), **told}


def _newest_of_each(calls: list[CallFinished]) -> list[CallFinished]:
    """A look-up that was repeated is told once, as it was the last time."""
    newest = {(call.name, str(call.arguments)): call for call in calls}
    return [call for call in calls if newest[(call.name, str(call.arguments))] is call]


def _resumed(state: RunState) -> list[JsonObject]:
    return [
        {"call": step.name, "ok": step.ok, "decision": state.decided[part].decision}
        for part, step in state.resumed.items()
    ]


def _asked(state: RunState) -> list[str]:
    questions = (state.handoff or {}).get("open_questions", [])
    return [str(question)[:QUESTION_CHARACTERS] for question in questions][:MOST_RESULTS]


def _failed(calls: list[CallFinished]) -> list[str]:
    """Calls that did not succeed, then or later."""
    well = {(call.name, str(call.arguments)) for call in calls if call.ok}
    lost = [call for call in calls if not call.ok and (call.name, str(call.arguments)) not in well]
    said = {f"{call.name} failed: {call.content.get('code', 'error')}": None for call in lost}
    return list(said)[-MOST_RESULTS:]


def _said(state: RunState) -> Iterator[str]:
    for reply in state.replies:
        if reply.agent == state.agent and not reply.discarded:
            for block in reply.content:
                if block.get("type") == "text" and str(block["text"]).strip():
                    yield str(block["text"])[:SAID_CHARACTERS]


def _ids(calls: list[CallFinished]) -> dict[str, list[str]]:
    """What things are called, by the name of the field: a trimmed result may have lost them."""
    found: dict[str, dict[str, None]] = {}
    for call in calls:
        for key, value in _id_fields(call.content):
            found.setdefault(key, {})[value] = None
    return {key: list(values)[-MOST_IDS:] for key, values in found.items()}


def _id_fields(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for item in value:
            yield from _id_fields(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key.endswith("_id") and isinstance(item, str):
                if len(item) <= ID_CHARACTERS:
                    yield key, item
            else:
                yield from _id_fields(item)
