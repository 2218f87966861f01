"""Whether a message list is one the Messages API accepts, said before the call and not by a refused one."""

from __future__ import annotations

from orchestrator.models.protocol import Fault, JsonObject, ModelError


def validate_history(messages: list[JsonObject]) -> None:
    """Check roles, blocks, and that every tool call is answered once, in the next message, results first.

    Raises: ModelError with `Fault.BAD_REQUEST`, naming the message by its place.
    """
    if not messages:
        raise _wrong(0, "there is none; a history begins with a user message")
    seen: set[str] = set()
    open_calls: list[str] = []
    for place, message in enumerate(messages):
        role = "assistant" if place % 2 else "user"
        if message.get("role") != role:
            raise _wrong(place, f"its role must be {role}; roles alternate, beginning with user")
        blocks = _blocks(place, message)
        _check_texts(place, blocks)
        if role == "user":
            _check_answers(place, blocks, open_calls)
            continue
        open_calls = _calls(place, blocks)
        if seen.intersection(open_calls) or len(set(open_calls)) < len(open_calls):
            raise _wrong(place, "a tool_use id is not unique in this history")
        seen.update(open_calls)
    # A paused reply is sent back as the last message; one that asked for tools is never the last.
    if len(messages) % 2 == 0 and open_calls:
        raise _wrong(len(messages) - 1, "its tool calls are not answered")


def _blocks(place: int, message: JsonObject) -> list[JsonObject]:
    content = message.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list) or not blocks:
        raise _wrong(place, "it has no content")
    if not all(isinstance(block, dict) and isinstance(block.get("type"), str) for block in blocks):
        raise _wrong(place, "a content block has no type")
    return blocks


def _check_texts(place: int, blocks: list[JsonObject]) -> None:
    texts = [block.get("text") for block in blocks if block["type"] == "text"]
    texts += [
        inner.get("text")
        for block in blocks
        if block["type"] == "tool_result" and isinstance(block.get("content"), list)
        for inner in block["content"]
        if inner.get("type") == "text"
    ]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise _wrong(place, "a text block is empty")


def _calls(place: int, blocks: list[JsonObject]) -> list[str]:
    calls = [block for block in blocks if block["type"] == "tool_use"]
    for call in calls:
        if not isinstance(call.get("id"), str) or not call["id"]:
            raise _wrong(place, "a tool_use block has no id")
        if not isinstance(call.get("input"), dict):
            raise _wrong(place, "a tool_use block's input is not an object")
    if any(block["type"] == "tool_result" for block in blocks):
        raise _wrong(place, "tool results belong in the user's message")
    return [call["id"] for call in calls]


def _check_answers(place: int, blocks: list[JsonObject], open_calls: list[str]) -> None:
    kinds = [block["type"] for block in blocks]
    if "tool_use" in kinds:
        raise _wrong(place, "tool_use blocks belong in the assistant's message")
    answers = [block.get("tool_use_id") for block in blocks if block["type"] == "tool_result"]
    if kinds[: len(answers)] != ["tool_result"] * len(answers):
        raise _wrong(place, "tool results come before other blocks")
    if len(set(answers)) < len(answers):
        raise _wrong(place, "a tool call is answered twice")
    if set(answers) - set(open_calls):
        raise _wrong(place, "a tool result answers no call of the message before")
    if set(open_calls) - set(answers):
        raise _wrong(place, "a tool call of the message before is not answered")


def _wrong(place: int, reason: str) -> ModelError:
    return ModelError(Fault.BAD_REQUEST, f"message {place + 1}: {reason}")
