"""How a run reads to a model: the first message of an agent, and the results of its calls."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

JsonObject = dict[str, Any]

TRANSFER = "transfer_to_"
ASK = "ask_"
ESCALATE = "escalate_to_person"

_FACTS = {
    "type": "object",
    "description": "Facts the other side needs: ids, amounts, names, what was found. No transcript.",
}


def first_message(
    request: str,
    *,
    customer_id: str | None,
    session_id: str,
    handoff: JsonObject | None,
    conversation: JsonObject | None = None,
) -> JsonObject:
    """The opening of an agent's message list: what is known, then the customer's own words, verbatim."""
    known: JsonObject = {"customer_id": customer_id, "session_id": session_id, "handoff": handoff}
    if conversation is not None:
        known["conversation"] = conversation
    # No text of a customer or a document may end the block: a `<` inside it is spelt as JSON spells it.
    spelt = json.dumps(known, ensure_ascii=False).replace("<", "\\u003c")
    context = f"<context>\n{spelt}\n</context>"
    return {"role": "user", "content": [_text(context), _text(request)]}


def tool_result(call_id: str, content: JsonObject, *, ok: bool) -> JsonObject:
    """One call's outcome as the model sees it."""
    text = json.dumps(content, ensure_ascii=False)
    return {"type": "tool_result", "tool_use_id": call_id, "content": [_text(text)], "is_error": not ok}


def results_message(results: Iterable[JsonObject]) -> JsonObject:
    """All outcomes of a turn, in one message, as the Messages API wants them."""
    return {"role": "user", "content": list(results)}


def transfer_tool(agent: str) -> JsonObject:
    return {
        "name": f"{TRANSFER}{agent}",
        "description": (
            f"Hand the conversation over to {agent} for good. Not for a question you only need answered "
            "yourself."
        ),
        "input_schema": {
            "type": "object",
            "properties": {
                "summary": {"type": "string", "description": "What is asked, in one or two sentences."},
                "facts": _FACTS,
                "open_questions": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "What is still to be found out or done, other domains included.",
                },
            },
            "required": ["summary", "facts"],
            "additionalProperties": False,
        },
    }


def ask_tool(agent: str) -> JsonObject:
    return {
        "name": f"{ASK}{agent}",
        "description": f"Have {agent} do one part and tell you the result; you keep the conversation.",
        "input_schema": {
            "type": "object",
            "properties": {
                "question": {"type": "string", "description": "The one thing to find out or to do."},
                "facts": _FACTS,
            },
            "required": ["question"],
            "additionalProperties": False,
        },
    }


def escalate_tool() -> JsonObject:
    return {
        "name": ESCALATE,
        "description": (
            "Give the request to a person: the customer asks for one, or no agent may or can decide it. "
            "Not for what another agent handles."
        ),
        "input_schema": {
            "type": "object",
            "properties": {
                "reason": {"type": "string", "description": "Why a person is needed."},
                "summary": {"type": "string", "description": "What is asked and what was found so far."},
            },
            "required": ["reason", "summary"],
            "additionalProperties": False,
        },
    }


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}
