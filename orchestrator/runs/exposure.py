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
from orchestrator.runs.messages import ASK, HANDING_OVER, TRANSFER
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
_SHORTEST_WORD = 4
_EMPTY = frozenset(
    {"search", "list", "find", "create", "update", "process", "save", "include"}
    | {"with", "that", "what", "this", "from", "have", "been", "when", "does", "your"}
)
"""Words that say nothing of what a tool is about, or are in the names of many."""
MOST_LIKELY = 2
"""Tools that are loaded because the task speaks of them."""
_PLAINLY = 3


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
    """What the agent may use and is not shown from the start, by the names models see."""
    if not agent.defer_tools:
        return []
    tools = [tool.replace(".", SEPARATOR, 1) for tool in agent.tools if tool not in agent.loaded_tools]
    transfers = [f"{TRANSFER}{target}" for target in agent.transfers]
    asks = [f"{ASK}{target}" for target in agent.asks]
    return [*tools, *transfers, *asks] if agent.defer_handoffs else tools


def exposed(state: RunState, pin: Pin, model: Model, name: str) -> Exposure:
    """What the model called `name` is shown of the holder's pinned tools."""
    deferred = [tool for tool in pin.tools if tool["name"] in pin.deferred]
    shown = [tool for tool in pin.tools if tool["name"] not in pin.deferred]
    rest = [rest_tool()] if _has_trimmed(state) else []
    if not deferred:
        return Exposure([*shown, *rest], [], ())
    if _natively(pin, model, name):
        return Exposure([*shown, *rest], deferred, ())
    guessed = [tool["name"] for tool in _likely(deferred, _task(state))]
    found = dict.fromkeys([*guessed, *_loaded(state.calls, state.agent)])
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
    names = "; ".join(_grouped(deferred))
    return {
        "name": FIND_TOOLS,
        "description": f"Load more tools for your next turn. You have: {names}.",
        "input_schema": {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "Names, or the task."}},
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
    names = [tool["name"] for tool in found]
    handing = any(name.startswith((TRANSFER, ASK)) for name in names)
    return CallOutcome(True, {"loaded": names, **({"note": HANDING_OVER} if handing else {})})


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
    tool = name.partition(SEPARATOR)[2] or name
    return (
        re.search(rf"(?<![A-Za-z0-9_-]){re.escape(tool)}(?![A-Za-z0-9_-])", query.replace(SEPARATOR, " "))
        is not None
    )


def _similar(deferred: Sequence[JsonObject], query: str, least: int = 1) -> list[JsonObject]:
    wanted = _words(query)
    scores = [(sum(_weight(word, tool) for word in wanted), tool) for tool in deferred]
    return [tool for score, tool in sorted(scores, key=lambda pair: -pair[0]) if score >= least]


def _weight(word: str, tool: JsonObject) -> int:
    """A word of the name counts most, one of its parameters less, one of the description least."""
    if word in _words(tool["name"].partition(SEPARATOR)[2] or tool["name"]):
        return 4
    if word in _words(" ".join(tool["input_schema"].get("properties", {}))):
        return 2
    return 1 if word in _words(tool["description"]) else 0


def _words(text: str) -> set[str]:
    """Words that say what something is about, in the singular."""
    words = {word.removesuffix("s") for word in _WORD.findall(text.casefold())}
    return {word for word in words if len(word) >= _SHORTEST_WORD and word not in _EMPTY}


def _task(state: RunState) -> str:
    """What the holder is to do, in words that stay the same while it holds the run."""
    handoff = state.handoff or {}
    return " ".join([state.request, str(handoff.get("summary", ""))])


def _likely(deferred: Sequence[JsonObject], task: str) -> list[JsonObject]:
    """Tools that the task speaks of so plainly that a search for them would only cost a turn."""
    tools = [tool for tool in deferred if SEPARATOR in tool["name"]]
    return _similar(tools, task, least=_PLAINLY)[:MOST_LIKELY]


def _grouped(deferred: Sequence[JsonObject]) -> Iterator[str]:
    """The names, each server's once."""
    groups: dict[str, list[str]] = {}
    for tool in deferred:
        server, _, name = tool["name"].rpartition(SEPARATOR)
        groups.setdefault(server, []).append(name)
    for server, names in groups.items():
        yield f"{server}: {', '.join(names)}" if server else ", ".join(names)
