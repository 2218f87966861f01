"""The receipt: what a server answers to a handoff."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from handoff.errors import JsonObject, allow_failure

RETRY_AFTER_SECONDS = 2.0
"""When to deliver again, unless a failure says better."""


class Receipt(BaseModel):
    """How a handoff stands at its receiver."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra=allow_failure)

    handoff_id: str
    status: Literal["accepted", "processing", "completed", "failed", "parked"]
    """accepted: stored, the rest is up to you. processing: still running. parked: a person must look."""
    result: Any = None
    """What the hinted tool answered."""
    error: JsonObject | None = None
    """Why it failed, or what it waits for: `code`, `message`, `retryable`, perhaps `suggestion`."""
    missing_arguments: list[str] = []
    """Arguments the hinted tool requires and the context does not hold."""
    retry_after_seconds: float | None = None
    """Set where delivering the same envelope again makes sense: how long to wait before."""
    next_tools: list[str] = []
    """Tools to call yourself, because a handoff does not run them."""
    replayed: bool = False
    """True when this outcome was stored by an earlier delivery and no work was done now."""

    def to_text(self) -> str:
        """The text that is stored, so that every replay carries the same bytes."""
        return self.model_dump_json()


def stored_receipt(text: str, *, replayed: bool) -> JsonObject:
    """The wire form of a stored receipt: parsed, never validated anew, so that nothing in it changes."""
    receipt: JsonObject = json.loads(text)
    return {**receipt, "replayed": replayed}
