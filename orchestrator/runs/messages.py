"""How a run reads to a model: the first message of an agent, and the results of its calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.guardrails.answers import told_shape
from orchestrator.models.marking import ADVICE, marked
from orchestrator.plain_text import plain
from orchestrator.runs.steps import Decided, Resumed

JsonObject = dict[str, Any]

TRANSFER = "transfer_to_"
ASK = "ask_"
ESCALATE = "escalate_to_person"

HANDING_OVER = (
    "To another agent, facts are what they need (ids, amounts, names), no guesses and no transcript, and "
    "open_questions what is still to be found out or done, other domains included."
)
"""Told once to agents that hand over, and not again with each of the tools for it."""

_STRING = {"type": "string"}
_FACTS = {"type": "object"}

_DECISIONS = {"approve": "approved", "reject": "rejected", "expire": "expired", "answer": "answered"}
_TELL = "A person has decided, as the block above says. Tell the customer what came of it."


def system_text(instructions: str, answer_schema: JsonObject | None, *, hands_over: bool = False) -> str:
    """What an agent is told before anything else: its own instructions, then what holds for all."""
    handing = [HANDING_OVER] if hands_over else []
    shape = [told_shape(answer_schema)] if answer_schema is not None else []
    return "\n\n".join([instructions.strip(), ADVICE, *handing, *shape])


def first_message(
    request: str,
    *,
    customer_id: str | None,
    session_id: str,
    handoff: JsonObject | None,
    conversation: JsonObject | None = None,
    so_far: JsonObject | None = None,
) -> JsonObject:
    """The opening of an agent's message list: what is known, then the customer's own words, verbatim."""
    known: JsonObject = {"customer_id": customer_id, "session_id": session_id, "handoff": handoff}
    if conversation is not None:
        known["conversation"] = conversation
    if so_far is not None:
        known["so_far"] = so_far
    words = plain(request)
    # The API takes no empty text, and a request may consist of nothing that can be seen.
    return {
        "role": "user",
        "content": [_text(marked("context", known)), _text(words if words.strip() else "?")],
    }


def tool_result(call_id: str, content: JsonObject, *, ok: bool, source: str = "") -> JsonObject:
    """One call's outcome as the model sees it: data, from whichever tool it is."""
    text = marked("data", content, source=source)
    return {"type": "tool_result", "tool_use_id": call_id, "content": [_text(text)], "is_error": not ok}


def repair_message(reason: str) -> JsonObject:
    """What an agent is told whose answer did not pass: once, then a person takes over."""
    told = f"Nobody has seen your answer, because it did not pass its check: {plain(reason)}. Answer again."
    return {"role": "user", "content": [_text(told)]}


def reopened(opening: JsonObject, last: JsonObject) -> JsonObject:
    """The first message of a list that is begun afresh: what is known, and words not answered yet."""
    words = [block for block in last["content"] if block.get("type") == "text"]
    known = opening["content"]
    return {"role": "user", "content": [*known, *(block for block in words if block not in known)]}


def results_message(results: Iterable[JsonObject]) -> JsonObject:
    """All outcomes of a turn, in one message, as the Messages API wants them."""
    return {"role": "user", "content": list(results)}


def decision_message(done: Resumed, decided: Decided) -> JsonObject:
    """What a person decided and what came of it, for the agent that holds the conversation."""
    told = {
        "decision": _DECISIONS[decided.decision],
        "call": done.name,
        "arguments": done.arguments,
        "ok": done.ok,
        "content": done.content,
        **({"note": decided.note} if decided.note else {}),
    }
    return {"role": "user", "content": [_text(marked("decision", told)), _text(_TELL)]}


def transfer_tool(agent: str) -> JsonObject:
    return _handing_over(
        f"{TRANSFER}{agent}",
        f"Hand the conversation over to {agent} for good.",
        {"summary": _STRING, "facts": _FACTS, "open_questions": {"type": "array", "items": _STRING}},
        ["summary", "facts"],
    )


def ask_tool(agent: str) -> JsonObject:
    return _handing_over(
        f"{ASK}{agent}",
        f"Have {agent} do one part and tell you; you keep the conversation.",
        {"question": _STRING, "facts": _FACTS},
        ["question"],
    )


def escalate_tool() -> JsonObject:
    return _handing_over(
        ESCALATE,
        "Give the request to a person: the customer asks for one, or no agent may decide it.",
        {"reason": _STRING, "summary": _STRING},
        ["reason", "summary"],
    )


def _handing_over(name: str, description: str, properties: JsonObject, required: list[str]) -> JsonObject:
    schema = {"type": "object", "properties": properties, "required": required}
    return {"name": name, "description": description, "input_schema": schema}


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}
