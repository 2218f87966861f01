"""Which tools an agent's model is shown: all of its list, or a few and a way to find the others.

Deferred tools are searched by the provider where it can, their definitions sent along but kept out of the
prompt. Elsewhere the agent has `find_tools`, and what it finds is in its list from the next turn on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.links.calls import CallOutcome
from orchestrator.models.protocol import JsonObject, Model, SearchesTools
from orchestrator.runs.state import RunState
from orchestrator.runs.steps import CallFinished, Pin
from orchestrator.runs.trimming import is_trimmed, rest_tool
from orchestrator.team import Agent
from orchestrator.tools import SEPARATOR

FIND_TOOLS = "find_tools"
MOST_FOUND = 5
"""Tools that one search loads."""

_HIDDEN = ("thinking", "redacted_thinking")
_WORD = re.compile(r"[a-z0-9]+")
_SHORTEST_WORD = 3


@dataclass(frozen=True, slots=True)
class Exposure:
    """The tools of one model call."""

    tools: list[JsonObject]
    """Definitions in the prompt, the stable ones first."""
    deferred: list[JsonObject]
    """Definitions for the provider's search."""
    searchable: tuple[str, ...]
    """Names that `find_tools` can load."""


def deferred_names(agent: Agent) -> list[str]:
    """The tools of the agent that are not loaded from the start, by the names models see."""
    if not agent.defer_tools:
        return []
    return [tool.replace(".", SEPARATOR, 1) for tool in agent.tools if tool not in agent.loaded_tools]


def exposed(state: RunState, pin: Pin, model: Model, name: str) -> Exposure:
    """What the model called `name` is shown of the holder's pinned tools."""
    deferred = [tool for tool in pin.tools if tool["name"] in pin.deferred]
    shown = [tool for tool in pin.tools if tool["name"] not in pin.deferred]
    rest = [rest_tool()] if _has_trimmed(state) else []
    if not deferred:
        return Exposure([*shown, *rest], [], ())
    if _natively(pin, model, name):
        return Exposure([*shown, *rest], deferred, ())
    found = list(dict.fromkeys(_loaded(state.calls, state.agent)))
    loaded = [tool for wanted in found for tool in deferred if tool["name"] == wanted]
    left = [tool for tool in deferred if tool not in loaded]
    # The search stays in its place when nothing is left to be found: what stands before new tools is stable.
    return Exposure([*shown, find_tool(deferred), *loaded, *rest], [], tuple(tool["name"] for tool in left))


def conversation(state: RunState) -> list[JsonObject]:
    """The holder's messages, without thinking from before its tools changed, which those make invalid."""
    messages = list(state.messages)
    changed = [place for place, message in enumerate(messages) if _searches(message)]
    trimmed = {call.call_id for call in state.calls if call.shown is not None and call.agent == state.agent}
    if trimmed:
        changed += [place for place, message in enumerate(messages) if _answers(message, trimmed)][:1]
    if not changed:
        return messages
    return [
        {**message, "content": [block for block in message["content"] if block.get("type") not in _HIDDEN]}
        if place <= max(changed) and message["role"] == "assistant"
        else message
        for place, message in enumerate(messages)
    ]


def find_tool(deferred: Sequence[JsonObject]) -> JsonObject:
    """The definition of `find_tools`; it names what there is, so that nothing has to be guessed."""
    names = ", ".join(tool["name"] for tool in deferred)
    return {
        "name": FIND_TOOLS,
        "description": f"Load more of your tools for your next turn. There are: {names}.",
        "input_schema": {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "Names, or what is to be done."}},
            "required": ["query"],
        },
    }


def find(pin: Pin, query: str) -> CallOutcome:
    """Search the deferred tools: those that the query names, else those with most words in common."""
    deferred = [tool for tool in pin.tools if tool["name"] in pin.deferred]
    named = [tool for tool in deferred if _is_named(tool["name"], query)]
    found = named or _similar(deferred, query)[:MOST_FOUND]
    if not found:
        names = [tool["name"] for tool in deferred]
        return CallOutcome(True, {"loaded": [], "available": names, "suggestion": "search by a name"})
    return CallOutcome(True, {"loaded": [tool["name"] for tool in found]})


def _natively(pin: Pin, model: Model, name: str) -> bool:
    if pin.defer_tools in ("native", "local"):
        return pin.defer_tools == "native"
    return isinstance(model, SearchesTools) and model.searches_tools(name)


def _loaded(calls: Sequence[CallFinished], agent: str) -> Iterator[str]:
    for call in calls:
        if call.name == FIND_TOOLS and call.agent == agent and call.ok:
            yield from call.content.get("loaded", [])


def _searches(message: JsonObject) -> bool:
    return any(block.get("name") == FIND_TOOLS for block in message["content"] if isinstance(block, dict))


def _answers(message: JsonObject, calls: set[str]) -> bool:
    return any(block.get("tool_use_id") in calls for block in message["content"] if isinstance(block, dict))


def _has_trimmed(state: RunState) -> bool:
    """Whether the holder was shown a part of some result, in this conversation or by who was before."""
    if any(call.shown is not None and call.agent == state.agent for call in state.calls):
        return True
    if is_trimmed((state.handoff or {}).get("results")):
        return True
    compacted = state.compacted
    return (
        compacted is not None
        and compacted.agent == state.agent
        and (is_trimmed(compacted.so_far.get("facts")) or is_trimmed(compacted.so_far.get("decisions")))
    )


def _is_named(name: str, query: str) -> bool:
    tool = name.partition(SEPARATOR)[2]
    return (
        re.search(rf"(?<![A-Za-z0-9_-]){re.escape(tool)}(?![A-Za-z0-9_-])", query.replace(SEPARATOR, " "))
        is not None
    )


def _similar(deferred: Sequence[JsonObject], query: str) -> list[JsonObject]:
    wanted = _words(query)
    scores = [(sum(_weight(word, tool) for word in wanted), tool) for tool in deferred]
    return [tool for score, tool in sorted(scores, key=lambda pair: -pair[0]) if score > 0]


def _weight(word: str, tool: JsonObject) -> int:
    """A word of the name counts most, one of the description less."""
    if any(word.startswith(known) or known.startswith(word) for known in _words(tool["name"])):
        return 3
    return 1 if word in _words(tool["description"]) else 0


def _words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.casefold()) if len(word) >= _SHORTEST_WORD}
