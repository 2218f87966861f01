"""What our own servers say to an agent is never taken for an injected instruction."""

from __future__ import annotations

import ast
from pathlib import Path

from orchestrator.guardrails.injection import signs_in

ROOT = Path(__file__).parents[2]


def texts_of(path: Path) -> list[str]:
    """The texts of errors in a module: their messages and suggestions."""
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    named = [
        keyword.value
        for call in calls
        for keyword in call.keywords
        if keyword.arg in ("suggestion", "message")
    ]
    first = [call.args[0] for call in calls if call.args and ast.unparse(call.func).endswith("Error")]
    parts = [part for value in (*named, *first) for part in ast.walk(value)]
    return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def test_no_error_of_a_server_reads_like_an_injection() -> None:
    paths = [path for package in ("servers", "handoff") for path in (ROOT / package).rglob("*.py")]
    texts = [text for path in paths for text in texts_of(path)]
    assert len(texts) > 200
    assert {text: signs for text in texts if (signs := signs_in(text))} == {}
