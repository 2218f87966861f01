"""The shared notebook of a run's agents, and each agent's own memory, as tools."""

from __future__ import annotations

from handoff.errors import StructuredError
from handoff.store import ABSENT, Put, Record, Store
from handoff.update import update
from orchestrator.links.calls import CallOutcome, failed
from orchestrator.models.protocol import JsonObject
from orchestrator.runs.swarm_state import SwarmStates

NOTE, DECIDE, READ = "note_finding", "note_decision", "read_notebook"
REMEMBER, RECALL = "remember", "recall"

NOTEBOOK_TOOLS = frozenset({NOTE, DECIDE, READ, REMEMBER, RECALL})

MEMORIES = "agent-memories"
MOST_MEMORIES = 50
MOST_CHARACTERS = 2_000


class Notebook:
    """Keeps what agents note: for all of the run, or for themselves within the conversation."""

    def __init__(self, store: Store, states: SwarmStates) -> None:
        self._store = store
        self._states = states

    async def call(
        self, name: str, arguments: JsonObject, *, run_id: str, session_id: str, agent: str, key: str
    ) -> CallOutcome:
        """Do one of `NOTEBOOK_TOOLS`; `key` names the call, so that making it again notes nothing twice.

        `run_id` is that of the run all its agents belong to. Never raises for a failed call.
        """
        try:
            return await self._call(name, arguments, run_id, f"{session_id}:{agent}", agent, key)
        except StructuredError as error:
            return CallOutcome(False, error.to_json())

    async def _call(
        self, name: str, arguments: JsonObject, run_id: str, memory: str, agent: str, key: str
    ) -> CallOutcome:
        if name == READ:
            state = await self._states.get(run_id)
            return CallOutcome(True, _readable(state.model_dump(mode="json") if state else {}))
        if name == RECALL:
            record = await self._store.get(MEMORIES, memory)
            return CallOutcome(True, {"memories": _texts(record)})
        text = str(arguments.get("text", "")).strip()[:MOST_CHARACTERS]
        if not text:
            return failed("invalid_arguments", "text is empty", suggestion="say what to note")
        if name == NOTE:
            await self._states.find(run_id, key=key, agent=agent, text=text)
        elif name == DECIDE:
            reason = str(arguments.get("reason", ""))[:MOST_CHARACTERS]
            await self._states.decide(run_id, key=key, agent=agent, decision=text, reason=reason)
        else:
            await self._remember(memory, text)
        return CallOutcome(True, {"noted": True})

    async def _remember(self, memory: str, text: str) -> None:
        def with_text(record: Record | None) -> Put:
            texts = [known for known in _texts(record) if known != text]
            data = {"texts": [*texts, text][-MOST_MEMORIES:]}
            return Put(MEMORIES, memory, data, ABSENT if record is None else record.version)

        await update(self._store, MEMORIES, memory, with_text, actor="orchestrator")


def notebook_tools() -> list[JsonObject]:
    """The definitions of the tools, for agents that have a notebook."""
    text = {"text": {"type": "string", "description": "One or two sentences."}}
    why = {"reason": {"type": "string", "description": "What it rests on."}}
    return [
        _tool(NOTE, "Tell all agents of this request what you found. Not for what only you need.", text),
        _tool(DECIDE, "Tell all agents of this request what you decided, and why.", {**text, **why}),
        _tool(READ, "Read what all agents of this request found and decided.", {}),
        _tool(REMEMBER, "Keep something for yourself within this conversation.", text),
        _tool(RECALL, "Read what you kept for yourself in this conversation.", {}),
    ]


def _tool(name: str, description: str, properties: JsonObject) -> JsonObject:
    schema: JsonObject = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"name": name, "description": description, "input_schema": schema}


def _texts(record: Record | None) -> list[str]:
    return [] if record is None else [str(text) for text in record.data["texts"]]


def _readable(state: JsonObject) -> JsonObject:
    return {
        "phase": state.get("phase", "started"),
        "findings": [_said(entry, "text") for entry in state.get("findings", [])],
        "decisions": [_said(entry, "decision", "reason") for entry in state.get("decisions", [])],
        "errors": [_said(entry, "code", "message", "recovery") for entry in state.get("errors", [])],
    }


def _said(entry: JsonObject, *keys: str) -> JsonObject:
    return {"agent": entry["agent"], **{key: entry[key] for key in keys}}
