"""The `offline` model: rules instead of a language model, for demos and tests without a key.

It keeps no state. Every reply is worked out again from the whole request: the plan runs from its
beginning, earlier results are fed to it, and its first call without a result is the reply.
"""

from __future__ import annotations

from orchestrator.models.offline.conversation import Call, Conversation, read_conversation
from orchestrator.models.protocol import JsonObject, ModelReply, ModelRequest, OnText, Stop

NAME = "offline"


class OfflineModel:
    """Drives the real tools through the same loop as a language model. Deterministic; costs nothing."""

    async def reply(self, request: ModelRequest, *, on_text: OnText | None = None) -> ModelReply:
        """The calls that the plan needs next, or its answer."""
        conversation = read_conversation(request)
        move = _next_move(conversation)
        if isinstance(move, str):
            if on_text is not None:
                await on_text(move)
            return ModelReply([{"type": "text", "text": move}], Stop.END, NAME)
        blocks = [_block(conversation, number, call) for number, call in enumerate(move, start=1)]
        return ModelReply(blocks, Stop.TOOLS, NAME)

    async def close(self) -> None:
        """Nothing is open."""


def _next_move(conversation: Conversation) -> list[Call] | str:
    """Run the plan up to its first call without a result."""
    # The plans load the word tables, which no import of this module should pay for.
    from orchestrator.models.offline.plans.desk import attend

    plan = attend(conversation)
    try:
        wanted = next(plan)
        while True:
            missing = [call for call in wanted if call.key not in conversation.outcomes]
            if missing:
                return _offered(missing, conversation)
            wanted = plan.send([conversation.outcomes[call.key] for call in wanted])
    except StopIteration as end:
        return str(end.value)


def _offered(calls: list[Call], conversation: Conversation) -> list[Call] | str:
    """The calls, or a search for what they need; nothing at all when one is none of this agent's tools."""
    if all(call.name in conversation.tools for call in calls):
        return calls
    if wanted := [call.name for call in calls if call.name in conversation.searchable]:
        return [Call("find_tools", {"query": " ".join(wanted)})]
    return "I lack the tools to do this myself. Please contact support, so that a person can help you."


def _block(conversation: Conversation, number: int, call: Call) -> JsonObject:
    return {
        "type": "tool_use",
        "id": f"toolu_{NAME}_{conversation.opening}_{conversation.turns + 1}_{number}",
        "name": call.name,
        "input": call.arguments,
    }
