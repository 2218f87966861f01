"""What a tool server is asked in a volley: secrets wherever a call can hold them, and nothing it would do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from planting.canaries import Canary
from planting.recording import recording

MARK = "planted-"
"""The ids of a volley's requests begin with it."""

ERA = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
Json = dict[str, Any]
LIST_ID = f"{MARK}tools"


def listing(era: Json) -> Json:
    """The question for the tools; `era` is empty for the older one."""
    return {"jsonrpc": "2.0", "id": LIST_ID, "method": "tools/list", "params": {"_meta": era}}


def tools_in(answer: str) -> list[Json]:
    """The tools of an answer to `listing`, sent as JSON or as an event."""
    for line in answer.splitlines():
        try:
            listed: list[Json] = json.loads(line.removeprefix("data: "))["result"]["tools"]
        except (ValueError, LookupError, TypeError):
            continue
        return listed
    return []


def refused_messages(tools: list[Json], secrets: list[Canary], era: Json) -> Iterator[Json]:
    """Each breaks a rule, so that the server keeps nothing of it."""
    for number, secret in enumerate(secrets):
        text, value = secret.text, secret.value
        for place, (method, params) in enumerate(
            (
                *((("tools/call", _wrong(tool, secret))) for tool in _three(tools, secret.number)),
                ("tools/call", {"name": text, "arguments": {"note": value}}),
                ("tools/call", {"name": "receive_handoff", "arguments": {"envelope": _foreign(secret)}}),
                ("tools/call", {"name": "receive_handoff", "arguments": {"envelope": _odd(secret)}}),
                ("tools/call", {"name": "receive_handoff", "arguments": {"envelope": text}}),
                ("tools/call", {"name": "prepare_handoff", "arguments": {"target_server": 7, text: value}}),
                ("tools/call", {"name": "get_context", "arguments": {"session_id": text}}),
                ("resources/read", {"uri": f"note://{value}"}),
                ("prompts/get", {"name": text, "arguments": {"note": text}}),
                (text, {"note": value}),
            )
        ):
            recording().plant("tool-call", secret.number)
            meta = {**era, "example.org/note": text, "dev.switchboard/session": text}
            yield {
                "jsonrpc": "2.0",
                "id": f"{MARK}{number}-{place}",
                "method": method,
                "params": {**params, "_meta": meta},
            }


def _three(tools: list[Json], turn: int) -> list[Json]:
    return [tools[(turn + each) % len(tools)] for each in range(min(3, len(tools)))]


def _wrong(tool: Json, secret: Canary) -> Json:
    """Arguments that no tool takes: each of its own is of a wrong type, and one is unknown."""
    own = tool.get("inputSchema", {}).get("properties", {})
    wrong = {name: {"note": secret.text, secret.value: [secret.text]} for name in own}
    return {"name": tool["name"], "arguments": {**wrong, secret.text: secret.value}}


def _foreign(secret: Canary) -> Json:
    """A whole envelope, with facts, for somebody else."""
    return {
        "session_id": "4be0643f-1d98-473b-97cd-ca98a65347dd",
        "handoff_id": "b9b3b2ae-9f1c-4b71-9c0a-5b2f4f0f3c11",
        "idempotency_token": secret.text,
        "source_server": secret.text,
        "target_server": f"nobody {secret.text}",
        "next_tool_hint": secret.text,
        "accumulated_context": {"note": secret.text, secret.value: [secret.text]},
        "continuation_token": secret.text,
        "created_at": "2026-01-01T00:00:00Z",
        "ttl_seconds": 300,
        "summary_before_window": secret.text,
    }


def _odd(secret: Canary) -> Json:
    """One with unknown fields, and known ones of wrong types."""
    wrong = {"handoff_id": secret.text, "created_at": secret.text, "ttl_seconds": secret.text}
    return {
        **_foreign(secret),
        **wrong,
        "hops": secret.text,
        "signature": secret.text,
        secret.text: secret.value,
    }
