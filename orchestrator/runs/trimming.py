"""How much of a tool result an agent is shown: its beginning, and a way to get the rest.

The run keeps every result whole. What is shown of it is decided when the call ends and written down with
it, so that the same steps always read the same to a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from orchestrator.links.calls import CallOutcome, failed
from orchestrator.models.protocol import JsonObject
from orchestrator.runs.steps import CallFinished

GET_REST = "get_rest"
BYTES_PER_TOKEN = 4
CARRIED_BYTES = 4_000
"""Most of one result that goes to another agent, or into a summary."""
_LEAST_BYTES = 200


def tokens_of(value: object) -> int:
    """About how many tokens a value is in a prompt."""
    return -(-len(_spelt(value).encode()) // BYTES_PER_TOKEN)


def shown_characters(content: JsonObject, most_tokens: int | None) -> int | None:
    """How many characters of the result are shown; None when all are."""
    if most_tokens is None or tokens_of(content) <= most_tokens:
        return None
    return len(_cut(_spelt(content), most_tokens * BYTES_PER_TOKEN))


def as_told(call: CallFinished) -> JsonObject:
    """The result as the agent that made the call is shown it."""
    if call.shown is None:
        return call.content
    text = _spelt(call.content)
    return {**_start(call.call_id, text, call.shown), "suggestion": f"{GET_REST} gives more of it"}


def carried(calls: Sequence[CallFinished], most_tokens: int) -> list[JsonObject]:
    """Results for somebody who did not make the calls, together no longer than that; none is left out."""
    left = most_tokens * BYTES_PER_TOKEN
    told: dict[int, JsonObject] = {}
    sizes = {place: len(_spelt(call.content).encode()) for place, call in enumerate(calls)}
    for done, place in enumerate(sorted(sizes, key=lambda place: sizes[place])):
        # Short ones first: what they do not use is there for the long ones.
        share = max(_LEAST_BYTES, min(CARRIED_BYTES, left // (len(calls) - done)))
        told[place] = _carried(calls[place], share)
        left -= min(share, sizes[place])
    return [told[place] for place in sorted(told)]


def is_trimmed(results: object) -> bool:
    """Whether one of some carried results is not whole."""
    return isinstance(results, list) and any(
        isinstance(result, dict) and result.get("trimmed") is True for result in results
    )


def rest_tool() -> JsonObject:
    """The definition of `get_rest`."""
    properties = {
        "call_id": {"type": "string"},
        "offset": {"type": "integer", "description": "`next_offset` of the part you have."},
    }
    return {
        "name": GET_REST,
        "description": "More of a result that was trimmed. Not for one that you were shown whole.",
        "input_schema": {"type": "object", "properties": properties, "required": ["call_id", "offset"]},
    }


def rest_of(calls: Iterable[CallFinished], arguments: JsonObject, most_tokens: int | None) -> CallOutcome:
    """The next part of a stored result, of the calls that the agent may know of."""
    call_id, offset = arguments.get("call_id"), arguments.get("offset")
    found = [call for call in calls if call.call_id == call_id]
    if not found or not isinstance(offset, int) or isinstance(offset, bool) or offset < 0:
        return failed(
            "invalid_arguments",
            "call_id or offset does not belong to a trimmed result",
            suggestion="give call_id and next_offset as they stand in the trimmed result",
        )
    text = _spelt(found[-1].content)
    size = len(text) if most_tokens is None else most_tokens * BYTES_PER_TOKEN
    part = _cut(text[offset:], size)
    end = offset + len(part)
    more = {"next_offset": end} if end < len(text) else {}
    return CallOutcome(True, {"content": part, "characters": len(text), **more})


def _carried(call: CallFinished, most_bytes: int) -> JsonObject:
    told: JsonObject = {"call": call.name, "ok": call.ok}
    text = _spelt(call.content)
    if len(text.encode()) <= most_bytes:
        return {**told, "content": call.content}
    return {**told, **_start(call.call_id, text, len(_cut(text, most_bytes)))}


def _start(call_id: str, text: str, shown: int) -> JsonObject:
    return {
        "content_start": text[:shown],
        "trimmed": True,
        "characters": len(text),
        "call_id": call_id,
        "next_offset": shown,
    }


def _cut(text: str, most_bytes: int) -> str:
    """As much of the text as fits, and at least one character."""
    return text.encode()[:most_bytes].decode(errors="ignore") or text[:1]


def _spelt(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
