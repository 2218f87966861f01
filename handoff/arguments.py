"""The arguments of the extension's tools: schemas for the model, no validation by the SDK.

What comes in is checked inside the tools, because the SDK's own refusals repeat the refused values.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, PlainValidator, WithJsonSchema
from pydantic_core import CoreSchema

from handoff.errors import JsonObject, StructuredError
from handoff.hints import OWN_TOOLS
from handoff.schema import compact_envelope_schema


class _EnvelopeSchema:
    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonObject:
        return compact_envelope_schema()


def _schema(type: str, description: str = "", **more: str) -> WithJsonSchema:
    described = {"description": description} if description else {}
    return WithJsonSchema({"type": type, **more, **described})


_AS_GIVEN = PlainValidator(lambda value: value)

EnvelopeArgument = Annotated[Any, _EnvelopeSchema()]
ContextArgument = Annotated[
    Any, _schema("object", "Few facts, with the hinted tool's arguments under the key `arguments`.")
]
SecondsArgument = Annotated[int, _AS_GIVEN, _schema("integer", "How long the envelope may wait.")]

# Texts are annotated `str`, or the SDK would parse one that happens to be JSON, such as a cursor.
ServerArgument = Annotated[str, _AS_GIVEN, _schema("string", "Name of the server to go on, as in `billing`.")]
TokenArgument = Annotated[str, _AS_GIVEN, _schema("string", "Any unique text; repeat it to retry safely.")]
HintArgument = Annotated[str, _AS_GIVEN, _schema("string", "Tool the target should run first.")]
CursorArgument = Annotated[str, _AS_GIVEN, _schema("string", "`next_cursor` of a list to go on with.")]
SessionArgument = Annotated[str, _AS_GIVEN, _schema("string", "The conversation's id.", format="uuid")]


def missing_argument(tool: str, arguments: JsonObject) -> StructuredError | None:
    """The refusal of a call of ours that lacks a required argument, if it does."""
    missing = next((name for name in OWN_TOOLS[tool] if name not in arguments), None)
    if missing is None:
        return None
    return StructuredError(f"{missing}: is missing", code="invalid_argument", field=missing)
