"""Puts a Messages API event stream together into one reply, strictly.

The SDK's own accumulator parses tool input leniently: a stream that is cut in the middle of an amount
yields a smaller amount. Here a block counts only once it is closed and its JSON is whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.models.protocol import Fault, JsonObject, ModelError, Stop, Usage


class Accumulator:
    """Takes events as JSON objects, in order; `finish` gives the content and why it ended."""

    def __init__(self) -> None:
        self.usage = Usage()
        self.model: str | None = None
        self.message_id: str | None = None
        self._blocks: dict[int, JsonObject] = {}
        self._inputs: dict[int, list[str]] = {}
        self._closed: set[int] = set()
        self._stop: str | None = None

    def add(self, event: Mapping[str, Any]) -> str | None:
        """Take one event; returns new text for the reader, if the event brought any.

        Events of an unknown type are passed over, as the API's versioning policy asks.
        Raises: ModelError for input that is not whole JSON, or events out of order.
        """
        match event.get("type"):
            case "message_start":
                self._start(_mapping(event.get("message")))
            case "content_block_start":
                self._blocks[event["index"]] = dict(_mapping(event.get("content_block")))
            case "content_block_delta":
                return self._delta(event["index"], _mapping(event.get("delta")))
            case "content_block_stop":
                self._close(event["index"])
            case "message_delta":
                self._stop = _mapping(event.get("delta")).get("stop_reason") or self._stop
                self._count(_mapping(event.get("usage")))
            case _:
                pass
        return None

    def finish(self) -> tuple[list[JsonObject], Stop]:
        """The whole content and the stop reason; tool calls of an unfinished turn are dropped.

        Raises: ModelError with fault `truncated` when the stream ended without saying why.
        """
        if self._stop is None:
            raise ModelError(Fault.TRUNCATED, "the reply ended in the middle", usage=self.usage)
        stop = Stop(self._stop) if self._stop in set(Stop) else Stop.OTHER
        if self._stop == "stop_sequence":
            stop = Stop.END
        if stop is Stop.TOOLS and set(self._blocks) != self._closed:
            raise ModelError(Fault.TRUNCATED, "a tool call of the reply is not whole", usage=self.usage)
        content = [self._blocks[index] for index in sorted(self._blocks) if index in self._closed]
        if stop is not Stop.TOOLS:
            content = [block for block in content if block.get("type") != "tool_use"]
        return content, stop

    def _start(self, message: Mapping[str, Any]) -> None:
        self.model = message.get("model")
        self.message_id = message.get("id")
        self._count(_mapping(message.get("usage")))

    def _delta(self, index: int, delta: Mapping[str, Any]) -> str | None:
        block = self._blocks.get(index)
        if block is None:
            raise ModelError(Fault.GARBAGE, "a piece of the reply belongs to no block", usage=self.usage)
        match delta.get("type"):
            case "text_delta":
                block["text"] = block.get("text", "") + delta["text"]
                return str(delta["text"])
            case "input_json_delta":
                self._inputs.setdefault(index, []).append(delta["partial_json"])
            case "thinking_delta":
                block["thinking"] = block.get("thinking", "") + delta["thinking"]
            case "signature_delta":
                block["signature"] = block.get("signature", "") + delta["signature"]
            case "citations_delta":
                block["citations"] = [*(block.get("citations") or []), delta["citation"]]
            case _:
                pass
        return None

    def _close(self, index: int) -> None:
        block = self._blocks.get(index)
        if block is None:
            raise ModelError(Fault.GARBAGE, "a block ends that never began", usage=self.usage)
        if block.get("type") in ("tool_use", "server_tool_use"):
            given = self._input(index, block)
            if given is None:
                return  # stays open: only the stop reason tells a broken call from a turn that was cut off
            block["input"] = given
        self._closed.add(index)

    def _input(self, index: int, block: JsonObject) -> JsonObject | None:
        text = "".join(self._inputs.pop(index, []))
        if not text:
            return dict(_mapping(block.get("input")))
        try:
            value = json.loads(text)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def _count(self, usage: Mapping[str, Any]) -> None:
        def newest(name: str, known: int) -> int:
            value = usage.get(name)
            return value if isinstance(value, int) else known

        self.usage = Usage(
            input_tokens=newest("input_tokens", self.usage.input_tokens),
            output_tokens=newest("output_tokens", self.usage.output_tokens),
            cache_read_tokens=newest("cache_read_input_tokens", self.usage.cache_read_tokens),
            cache_write_tokens=newest("cache_creation_input_tokens", self.usage.cache_write_tokens),
        )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
