"""What the loop asks of a model and what comes back, in the Messages API's own JSON shape.

One wire shape, persisted as it is: message lists and content blocks are Anthropic Messages JSON.
Implementations: `claude`, `offline`, `scripted`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

JsonObject = dict[str, Any]


class Stop(StrEnum):
    """Why a reply ended. Tools run on `TOOLS` and on nothing else."""

    END = "end_turn"
    TOOLS = "tool_use"
    LENGTH = "max_tokens"
    REFUSAL = "refusal"
    PAUSE = "pause_turn"
    CONTEXT = "model_context_window_exceeded"
    OTHER = "other"


class Fault(StrEnum):
    """Why no reply came."""

    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER = "server_error"
    NETWORK = "network"
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"
    GARBAGE = "garbage"
    SPEND_LIMIT = "spend_limit"
    CREDENTIALS = "credentials"
    BAD_REQUEST = "bad_request"
    TOO_LARGE = "too_large"
    NOT_FOUND = "not_found"
    SCRIPT = "script"


RETRYABLE = frozenset(
    {
        Fault.RATE_LIMITED,
        Fault.OVERLOADED,
        Fault.SERVER,
        Fault.NETWORK,
        Fault.TIMEOUT,
        Fault.TRUNCATED,
        Fault.GARBAGE,
    }
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply, or of several added up. `input_tokens` counts the uncached ones only."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    @property
    def total(self) -> int:
        return self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )


class ModelError(Exception):
    """The model gave no usable reply. `message` is safe to show; `usage` was paid all the same."""

    def __init__(
        self,
        fault: Fault,
        message: str,
        *,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        super().__init__(f"{fault.value}: {message}")
        self.fault = fault
        self.message = message
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds
        self.usage = usage or Usage()

    @property
    def retryable(self) -> bool:
        return self.fault in RETRYABLE


class ModelChoiceError(Exception):
    """The model that was asked for cannot be used; the message is one line that says what to change."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One model call. `tools` are Messages API tool definitions: name, description, input_schema."""

    model: str
    agent: str
    system: str
    messages: list[JsonObject]
    tools: list[JsonObject] = field(default_factory=list)
    deferred: list[JsonObject] = field(default_factory=list)
    """Definitions that stay out of the prompt until the provider's search finds them."""
    searchable: tuple[str, ...] = ()
    """Names of tools that the agent's own search can load."""
    max_tokens: int = 2048
    deadline_seconds: float = 30.0
    on_fault: Callable[[ModelError], None] | None = None
    """Told of each attempt that failed, those that another one follows included."""


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A finished reply: content blocks verbatim. `tool_use` blocks are there only on `Stop.TOOLS`."""

    content: list[JsonObject]
    stop: Stop
    model: str
    usage: Usage = field(default_factory=Usage)
    request_id: str | None = None
    attempts: int = 1

    @property
    def text(self) -> str:
        parts = [block["text"] for block in self.content if block.get("type") == "text"]
        return "\n".join(part for part in parts if part.strip())

    @property
    def tool_uses(self) -> list[JsonObject]:
        return [block for block in self.content if block.get("type") == "tool_use"]


OnText = Callable[[str], Awaitable[None]]


class Model(Protocol):
    """Something that can take an agent's turn."""

    async def reply(self, request: ModelRequest, *, on_text: OnText | None = None) -> ModelReply:
        """Raises: ModelError, and no other exception."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class SearchesTools(Protocol):
    """A model whose provider can search tools that are not in the prompt."""

    def searches_tools(self, model: str) -> bool:
        """Whether it can for the model of that name."""
        ...
