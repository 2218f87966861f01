"""A model request as the rules see it: who is served, what they wrote, and how earlier calls came out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from orchestrator.models.marking import unmarked
from orchestrator.models.protocol import JsonObject, ModelRequest

_OPENING, _CLOSING = "<context>\n", "\n</context>"
_DECIDED, _DECIDED_END = "<decision>\n", "\n</decision>"
_HIDDEN = "idempotency_token"
"""Added to calls by the loop, never by a model: it makes no other call of it."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as a plan wants it."""

    name: str
    arguments: JsonObject

    @property
    def key(self) -> str:
        """The same for the same call, whenever it is made."""
        known = {name: value for name, value in self.arguments.items() if name != _HIDDEN}
        return f"{self.name} {json.dumps(known, sort_keys=True, ensure_ascii=False)}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call came out: the structured result or the structured error."""

    ok: bool
    content: JsonObject

    @property
    def code(self) -> str:
        """The error's code; empty for a result."""
        return "" if self.ok else str(self.content.get("code", "error"))

    def items(self) -> list[JsonObject]:
        """The items of a page; none for an error."""
        found = self.content.get("items") if self.ok else None
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


@dataclass(frozen=True, slots=True)
class Conversation:
    """Everything a reply may depend on. Only `request` holds the customer's words."""

    agent: str
    tools: frozenset[str]
    """Names of the tools that are offered; nothing else may be called."""
    request: str
    customer_id: str | None = None
    """The customer of the authenticated channel, or the one that the agent before found."""
    is_authenticated: bool = False
    """Whether `customer_id` comes from the channel and not from the text."""
    handoff: JsonObject | None = None
    turns: int = 0
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """Earlier calls by their key."""
    asked_about: str = ""
    """The request that the customer was asked a question about, and may be answering now."""
    searchable: frozenset[str] = frozenset()
    """Names of tools that have to be loaded before."""
    opening: str = ""
    """A hash of the first message, for ids that differ from agent to agent."""

    def offers(self, *names: str) -> bool:
        return self.reachable.issuperset(names)

    @property
    def reachable(self) -> frozenset[str]:
        """Names of all that can be called, at once or after a search."""
        return self.tools | self.searchable

    @property
    def facts(self) -> JsonObject:
        """What the agent before passed on."""
        facts = (self.handoff or {}).get("facts")
        return facts if isinstance(facts, dict) else {}

    @property
    def topics(self) -> tuple[str, ...]:
        """The kinds of task that were handed over; empty when it was not said."""
        named = self.facts.get("topics")
        return tuple(str(name) for name in named) if isinstance(named, list) else ()


def read_conversation(request: ModelRequest) -> Conversation:
    """Take a model request apart."""
    texts = _texts(request.messages[0]) if request.messages else []
    context: JsonObject = {}
    if texts and texts[0].startswith(_OPENING) and texts[0].endswith(_CLOSING):
        context = _object(texts[0].removeprefix(_OPENING).removesuffix(_CLOSING))
        texts = texts[1:]
    handoff = context.get("handoff")
    known = context.get("customer_id")
    passed_on = handoff.get("facts") if isinstance(handoff, dict) else None
    found = passed_on.get("customer_id") if isinstance(passed_on, dict) else None
    return Conversation(
        agent=request.agent,
        tools=frozenset(str(tool["name"]) for tool in (*request.tools, *request.deferred)),
        searchable=frozenset(request.searchable),
        request="\n".join(texts),
        customer_id=_id(known) or _id(found),
        is_authenticated=_id(known) is not None,
        handoff=handoff if isinstance(handoff, dict) else None,
        turns=sum(message.get("role") == "assistant" for message in request.messages),
        outcomes=_outcomes(request.messages),
        asked_about=_asked_about(context),
        opening=_hash(request.agent, request.messages[:1]),
    )


def _outcomes(messages: list[JsonObject]) -> dict[str, Outcome]:
    """The results of the calls made so far, by the call."""
    calls: dict[str, Call] = {}
    outcomes: dict[str, Outcome] = {}
    for block in (block for message in messages for block in _blocks(message)):
        decided = _decision(block)
        if block.get("type") == "tool_use":
            calls[str(block.get("id"))] = Call(str(block.get("name")), block.get("input") or {})
        elif decided is not None:
            outcomes[decided[0].key] = decided[1]
        elif block.get("type") == "tool_result" and (call := calls.get(str(block.get("tool_use_id")))):
            content = _object(unmarked("\n".join(_texts(block))))
            outcomes[call.key] = Outcome(not block.get("is_error"), content)
    return outcomes


def _asked_about(context: JsonObject) -> str:
    working = _object_of(_object_of(context.get("conversation")).get("working"))
    return str(working.get("request", "")) if working.get("stands") == "asked_back" else ""


def _decision(block: JsonObject) -> tuple[Call, Outcome] | None:
    """What a person decided about an earlier call, which is how that call came out."""
    text = str(block.get("text", "")) if block.get("type") == "text" else ""
    if not (text.startswith(_DECIDED) and text.endswith(_DECIDED_END)):
        return None
    told = _object(text.removeprefix(_DECIDED).removesuffix(_DECIDED_END))
    call = Call(str(told.get("call")), _object_of(told.get("arguments")))
    return call, Outcome(told.get("ok") is True, _object_of(told.get("content")))


def _object_of(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _blocks(message: JsonObject) -> list[JsonObject]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _texts(holder: JsonObject) -> list[str]:
    return [str(block.get("text", "")) for block in _blocks(holder) if block.get("type") == "text"]


def _object(text: str) -> JsonObject:
    try:
        value = json.loads(text)
    except ValueError:
        return {"message": text}
    return value if isinstance(value, dict) else {"value": value}


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _hash(agent: str, messages: list[JsonObject]) -> str:
    text = json.dumps([agent, messages], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
