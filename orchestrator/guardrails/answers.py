"""Answers of a given shape: what is wrong with one, said so that its writer can mend it."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

JsonObject = dict[str, Any]

_FENCED = re.compile(r"```(?:json)?\s*\n(.*)\n```", re.DOTALL)
_MOST_FINDINGS = 3


VERDICT_SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "ok": {"type": "boolean", "description": "Whether the answer may go out as it is."},
        "reason": {"type": "string", "description": "What is wrong, so that the agent can mend it."},
    },
    "required": ["ok", "reason"],
    "additionalProperties": False,
}
"""How an agent that validates answers."""


class SchemaError(ValueError):
    """The schema itself is none."""


def check_schema(schema: JsonObject) -> None:
    """Raises: SchemaError saying where the schema is wrong."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError as Refused

    try:
        Draft202012Validator.check_schema(schema)
    except Refused as error:
        where = "/".join(str(part) for part in error.absolute_path) or "the schema"
        raise SchemaError(f"answer_schema: {where} is not JSON Schema") from None


def wrong_with(text: str, schema: JsonObject) -> str | None:
    """What keeps an answer from fitting its schema; None when it fits. Values are not repeated."""
    try:
        value = json.loads(bare_json(text))
    except ValueError:
        return "the answer must be one JSON value and nothing else"
    validator = _validator(json.dumps(schema, sort_keys=True))
    found = sorted(validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
    reasons = [_reason(error) for error in found[:_MOST_FINDINGS]]
    if len(found) > _MOST_FINDINGS:
        reasons.append(f"and {len(found) - _MOST_FINDINGS} more")
    return "; ".join(reasons) or None


def bare_json(text: str) -> str:
    """The JSON of an answer, without the fence that models like to put around it."""
    fenced = _FENCED.fullmatch(text.strip())
    return (fenced[1] if fenced else text).strip()


def told_shape(schema: JsonObject) -> str:
    """What an agent is told of the shape its answers must have."""
    spelt = json.dumps(schema, ensure_ascii=False, sort_keys=True)
    return (
        f"Give your final answer as one JSON value, without any other words, that fits this schema: {spelt}"
    )


def _reason(error: Any) -> str:
    where = "/".join(str(part) for part in error.absolute_path) or "the answer"
    return f"{where} breaks {error.validator!r}: {json.dumps(error.validator_value)[:200]}"


@lru_cache(maxsize=32)
def _validator(schema: str) -> Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema))
