"""What callers send: the bodies and the parameters of requests."""

from __future__ import annotations

import uuid
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request

from orchestrator.names import Name
from orchestrator.runs.steps import RunStatus
from orchestrator.service.problems import RequestError
from orchestrator.service.settings import MAX_INPUT_BYTES, MAX_WAIT_SECONDS
from orchestrator.service.tokens import CustomerId

IDEMPOTENCY_KEY = "Idempotency-Key"
LAST_EVENT_ID = "Last-Event-ID"

_MOST_METADATA = 16
_EXACT = 2**53 - 1
"""Beyond it not every reader of JSON sees the same number."""


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; say what the customer wants")
    return text


def _exact(metadata: Metadata) -> Metadata:
    for value in metadata.values():
        if isinstance(value, int | float) and not abs(value) <= _EXACT:
            raise ValueError(f"numbers lie between -{_EXACT:,} and {_EXACT:,}")
    return metadata


Label = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Metadata = dict[Label, Annotated[str, StringConstraints(max_length=512)] | bool | int | float | None]
SessionId = Annotated[uuid.UUID, Field(description="UUID of the conversation to go on with.")]


class RunRequest(BaseModel):
    """A customer's request, to be handled by the agents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Annotated[
        str,
        Field(
            min_length=1,
            json_schema_extra={"maxLength": MAX_INPUT_BYTES},
            description="What the customer wrote, word for word; at most 65,536 bytes of UTF-8.",
        ),
        AfterValidator(_not_blank),
    ]
    customer_id: Annotated[
        CustomerId | None,
        Field(
            description="Whose request it is; the agents then see only this customer's records. For staff "
            "tokens only: with a token of one customer it is that customer."
        ),
    ] = None
    session_id: SessionId | None = None
    agent: Annotated[
        Name | None,
        Field(description="The agent to begin with, for staff tokens only; else the team's entry does."),
    ] = None
    metadata: Annotated[
        Metadata,
        Field(max_length=_MOST_METADATA, description="Your own notes; they come back with the run."),
        AfterValidator(_exact),
    ] = {}


class RunQuery(BaseModel):
    """Which runs to list; all conditions must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Annotated[RunStatus | None, Field(description="Runs with this status.")] = None
    session_id: Annotated[uuid.UUID | None, Field(description="Runs of this conversation.")] = None
    customer_id: Annotated[CustomerId | None, Field(description="Runs of this customer.")] = None
    limit: Annotated[int, Field(ge=1, le=100, description="Most runs on a page.")] = 20
    cursor: Annotated[
        str | None, Field(max_length=512, description="`next_cursor` of the page before, same conditions.")
    ] = None


class WaitQuery(BaseModel):
    """How long to wait for the run's end before answering with what there is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wait: Annotated[
        float,
        Field(
            ge=0, le=MAX_WAIT_SECONDS, allow_inf_nan=False, description="Seconds to wait for the run's end."
        ),
    ] = 0.0


def idempotency_key(request: Request) -> str | None:
    """The key under which this request is done once. Raises: RequestError."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise RequestError(
            422, "invalid_request", "the key has 1 to 255 printable ASCII characters", field=IDEMPOTENCY_KEY
        )
    return key


def last_event_id(request: Request) -> int:
    """The number of the last event the reader has; 0 for none. Raises: RequestError."""
    text = request.headers.get(LAST_EVENT_ID, "").strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise RequestError(
            422, "invalid_request", "it is the id of an event of this stream, a number", field=LAST_EVENT_ID
        )
    return int(text)


def wants_events(request: Request) -> bool:
    """Whether the caller asked for a stream rather than for JSON."""
    return "text/event-stream" in request.headers.get("accept", "").lower()
