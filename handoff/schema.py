"""The envelope's JSON Schema: whole for the documentation, compact for the tool that models see.

`python -m handoff.schema docs/envelope.schema.json` writes the documented one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from handoff.envelope import HandoffEnvelope
from handoff.errors import JsonObject

SCHEMA_ID = "urn:switchboard:handoff-envelope:1"


def envelope_schema() -> JsonObject:
    """The JSON Schema of the envelope, as published in `docs/envelope.schema.json`."""
    schema = HandoffEnvelope.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema}


def compact_envelope_schema() -> JsonObject:
    """The same without prose, bounds and defaults: a sender copies an envelope, it does not compose one."""
    schema = envelope_schema()
    return {
        "type": "object",
        "properties": {name: _bare(field) for name, field in schema["properties"].items()},
        "required": schema["required"],
        "additionalProperties": False,
    }


def schema_text() -> str:
    return json.dumps(envelope_schema(), indent=2, ensure_ascii=False) + "\n"


def _bare(field: JsonObject) -> Any:
    if "anyOf" in field:
        return {"type": [_bare(option)["type"] for option in field["anyOf"]]}
    return {name: field[name] for name in ("type", "format", "const") if name in field}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(schema_text(), "utf-8")
