"""What a coordinator knows when its turn comes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.patterns.moves import JsonObject


@dataclass(frozen=True, slots=True)
class Finding:
    """How one task ended."""

    task: str
    ok: bool
    content: JsonObject
    """The structured result, or the structured error; of an agent: `{"agent", "status", "result"}`."""

    @property
    def result(self) -> Any:
        """What the next stage is given: an agent's answer, as data if it is JSON, or a tool's result."""
        if "result" not in self.content or "agent" not in self.content:
            return self.content
        return typed(str(self.content["result"]))

    @property
    def text(self) -> str:
        """The result as a person reads it."""
        result = self.result
        return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)

    def to_json(self) -> JsonObject:
        if self.ok:
            return {"task": self.task, "result": self.result}
        return {"task": self.task, "error": self.error}

    @property
    def error(self) -> JsonObject:
        """Why it failed, and whether trying again can help."""
        if "code" in self.content:
            known: JsonObject = {
                key: self.content[key] for key in ("code", "message", "suggestion") if key in self.content
            }
            return {**known, "retryable": self.content.get("retryable") is True}
        return {
            "code": str(self.content.get("status", "failed")),
            "message": str(self.content.get("result", "the agent gave no result")),
            "retryable": True,
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """The request, and the tasks that have ended, by name."""

    request: str
    facts: JsonObject
    """What whoever asked told beside the request."""
    findings: Mapping[str, Finding]

    def of(self, names: Iterable[str]) -> list[Finding]:
        """The findings of those tasks that have ended, in that order."""
        return [self.findings[name] for name in names if name in self.findings]


def typed(text: str) -> Any:
    """An answer as data if it is a JSON object or list, also inside a fenced block; else as it is."""
    inner = text.strip()
    if inner.startswith("```") and inner.endswith("```"):
        inner = inner[3:-3].removeprefix("json").strip()
    if inner[:1] not in ("{", "["):
        return text
    try:
        return json.loads(inner)
    except ValueError:
        return text


def separated(names: Iterable[str], findings: Mapping[str, Finding]) -> JsonObject:
    """`{successful, failed, total}` over the tasks that have ended."""
    ended = [findings[name] for name in names if name in findings]
    return {
        "successful": [finding.to_json() for finding in ended if finding.ok],
        "failed": [finding.to_json() for finding in ended if not finding.ok],
        "total": len(ended),
    }


def listed(output: JsonObject) -> str:
    """The outcome of every task, a line each, for a person."""
    lines = [f"{len(output['successful'])} of {output['total']} succeeded."]
    for entry in output["successful"]:
        result = entry["result"]
        text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
        lines.append(f"- {entry['task']}: {text}")
    lines += [f"- {entry['task']} failed: {entry['error']['message']}" for entry in output["failed"]]
    lines += [f"- {entry['task']} was not run: {entry['reason']}" for entry in output.get("not_run", ())]
    return "\n".join(lines)
