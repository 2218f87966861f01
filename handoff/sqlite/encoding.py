"""JSON text as the SQLite store keeps it."""

from __future__ import annotations

import json

from handoff.errors import JsonObject, StructuredError

# ASCII only: any Python string survives the round trip, unpaired surrogates included.
_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def encode(data: JsonObject) -> str:
    """Compact JSON text. Raises: StructuredError with code `invalid_value` for what JSON cannot hold."""
    try:
        return _encoder.encode(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise StructuredError(
            "the data holds a value that JSON cannot carry",
            code="invalid_value",
            suggestion="send objects, lists, text, finite numbers, booleans and null, not nested too deeply",
        ) from error


def decode(text: str) -> JsonObject:
    """The object that `encode` wrote, with its keys in the same order."""
    data: JsonObject = json.loads(text)
    return data
