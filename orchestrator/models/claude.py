"""Claude through the Messages API, or any endpoint that speaks it (`ANTHROPIC_BASE_URL`).

The SDK's own retries are off: they know the status code only, sleep through any `retry-after`, and do
not cover a stream that has begun. One loop here owns retries, under one deadline.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from orchestrator.models.accumulator import Accumulator
from orchestrator.models.faults import fault_of
from orchestrator.models.protocol import (
    Fault,
    JsonObject,
    ModelChoiceError,
    ModelError,
    ModelReply,
    ModelRequest,
    OnText,
    Usage,
)

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

TOOL_SEARCH = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
_SEARCHING = re.compile(r"claude-[a-z]+-([5-9]|4-[5-9])(-|$)")
"""Models that can search deferred tools."""
KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often to try. Seconds; the request's own deadline bounds all of it."""

    attempts: int = 3
    first_event: float = 20.0
    """From sending the request to the stream's first event."""
    idle: float = 15.0
    """Between two events; pings do not count."""
    backoff: float = 0.5
    longest_backoff: float = 8.0


class ClaudeModel:
    """The `claude` model."""

    def __init__(self, client: AsyncAnthropic | None = None, patience: Patience | None = None) -> None:
        self._client = client
        self._patience = patience or Patience()

    @classmethod
    def from_environment(cls) -> ClaudeModel:
        """Raises: ModelChoiceError when no key is set."""
        if not any(os.environ.get(key) for key in KEYS):
            raise ModelChoiceError(f"the model claude needs a key: set {KEYS[0]}, or use --model offline")
        return cls()

    async def reply(self, request: ModelRequest, *, on_text: OnText | None = None) -> ModelReply:
        """Raises: ModelError."""
        patience = self._patience
        shown = Shown(on_text)
        paid = Usage()
        attempts = AsyncRetrying(
            retry=retry_if_exception(lambda error: _worth_another(error) and not shown.any),
            stop=stop_after_attempt(patience.attempts) | stop_before_delay(request.deadline_seconds),
            wait=self._wait,
            reraise=True,
        )
        try:
            async with asyncio.timeout(max(0.0, request.deadline_seconds)):
                async for attempt in attempts:
                    with attempt:
                        number = attempt.retry_state.attempt_number
                        try:
                            reply = await self._attempt(request, shown, number)
                        except ModelError as error:
                            if request.on_fault is not None:
                                request.on_fault(error)
                            paid = error.usage = paid + error.usage
                            raise
                        return replace(reply, usage=paid + reply.usage)
        except TimeoutError as error:
            message = "no reply within the time for a model call"
            raise ModelError(Fault.TIMEOUT, message, usage=paid) from error
        raise AssertionError("unreachable: the retry loop returns or raises")

    def searches_tools(self, model: str) -> bool:
        """Whether the provider can search tools for it; another endpoint need not know how."""
        elsewhere = os.environ.get("ANTHROPIC_BASE_URL")
        return not elsewhere and _SEARCHING.match(model) is not None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ModelError) and error.retry_after_seconds is not None:
            # As long as it said, and a little more, so that all who were told the same do not come at once.
            return error.retry_after_seconds * random.uniform(1.0, 1.1)
        backoff = wait_random_exponential(
            multiplier=self._patience.backoff, max=self._patience.longest_backoff
        )
        return backoff(state)

    async def _attempt(self, request: ModelRequest, shown: Shown, number: int) -> ModelReply:
        try:
            return await self._stream(request, shown, number)
        except ModelError as error:
            if not _bound_thinking(error):
                raise
            # Thinking is only valid in the conversation it was made in; without it the turn still stands.
            plain = replace(request, messages=_without_thinking(request.messages))
            return await self._stream(plain, shown, number)

    async def _stream(self, request: ModelRequest, shown: Shown, number: int) -> ModelReply:
        import anthropic
        import httpx2

        loop = asyncio.get_running_loop()
        whole = Accumulator()
        request_id: str | None = None
        try:
            async with asyncio.timeout(self._patience.first_event) as quiet:
                client = await self._open()
                async with await client.messages.create(**_arguments(request), stream=True) as stream:
                    request_id = stream.response.headers.get("request-id")
                    async for event in stream:
                        quiet.reschedule(loop.time() + self._patience.idle)
                        text = whole.add(event.to_dict(mode="json", warnings=False))
                        if text:
                            await shown.show(text)
            content, stop = whole.finish()
        except TimeoutError as error:
            message = "the reply stalled"
            raise ModelError(Fault.TIMEOUT, message, request_id=request_id, usage=whole.usage) from error
        except anthropic.APIStatusError as error:
            fault = fault_of(
                status=error.status_code,
                type=error.type,
                error_code=error.error_code,
                message=error.api_message or f"HTTP status {error.status_code}",
                headers=error.response.headers,
                request_id=error.request_id or request_id,
            )
            fault.usage = whole.usage
            raise fault from error
        except anthropic.APITimeoutError as error:
            raise ModelError(Fault.TIMEOUT, "the connection timed out") from error
        except (anthropic.APIConnectionError, httpx2.HTTPError) as error:
            message = "the connection broke"
            raise ModelError(Fault.NETWORK, message, request_id=request_id, usage=whole.usage) from error
        except (ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
            # A body that is no event stream makes the SDK fail in many ways; all mean the same.
            message = "the answer is not of the Messages API"
            raise ModelError(Fault.GARBAGE, message, request_id=request_id, usage=whole.usage) from error
        return ModelReply(
            content, stop, whole.model or request.model, whole.usage, request_id=request_id, attempts=number
        )

    async def _open(self) -> AsyncAnthropic:
        if self._client is None:
            # Importing the SDK takes a second of CPU: not in import, and not on the event loop.
            self._client = await asyncio.to_thread(_new_client)
        return self._client


class Shown:
    """Passes text on as it comes, and remembers that some was: a shown reply is never begun again."""

    def __init__(self, on_text: OnText | None) -> None:
        self._on_text = on_text
        self.any = False

    async def show(self, text: str) -> None:
        if self._on_text is not None:
            self.any = True
            await self._on_text(text)


def _new_client() -> AsyncAnthropic:
    import anthropic
    import httpx2

    return anthropic.AsyncAnthropic(
        max_retries=0,
        timeout=httpx2.Timeout(60.0, connect=5.0),
        open_telemetry={"traces": {"content_mode": "metadata_only"}, "propagation": False},
    )


def _arguments(request: ModelRequest) -> dict[str, Any]:
    """Stable parts first and marked, so that the provider's cache stays warm over an agent's turns."""
    cached = {"type": "ephemeral"}
    tools = _tools(request)
    return {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "system": [{"type": "text", "text": request.system, "cache_control": cached}],
        "messages": request.messages,
        "cache_control": cached,
        **({"tools": tools, "tool_choice": {"type": "auto"}} if tools else {}),
    }


def _tools(request: ModelRequest) -> list[JsonObject]:
    """What is in the prompt first, then what the provider's search can bring into it."""
    if not request.deferred:
        return request.tools
    return [*request.tools, *({**tool, "defer_loading": True} for tool in request.deferred), TOOL_SEARCH]


def _worth_another(error: BaseException) -> bool:
    return isinstance(error, ModelError) and error.retryable


def _bound_thinking(error: ModelError) -> bool:
    return error.fault is Fault.BAD_REQUEST and "bound to a different conversation" in error.message


def _without_thinking(messages: list[JsonObject]) -> list[JsonObject]:
    hidden = ("thinking", "redacted_thinking")
    return [
        {**message, "content": [block for block in message["content"] if block.get("type") not in hidden]}
        for message in messages
    ]
