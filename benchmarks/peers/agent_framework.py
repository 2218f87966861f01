"""agent-framework: a handoff workflow. Durable checkpoints each of its supersteps in files.

A workflow refuses concurrent runs, so one is built for each run, as its own guide does.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from agent_framework import (
    Agent,
    BaseChatClient,
    ChatMiddlewareLayer,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FileCheckpointStorage,
    FunctionInvocationLayer,
    MCPStreamableHTTPTool,
    Message,
)
from agent_framework.observability import ChatTelemetryLayer
from agent_framework.orchestrations import HandoffBuilder

from benchmarks.peers import work

DISTRIBUTIONS = ("agent-framework", "mcp")


class _Client(BaseChatClient):
    """Answers at once, from what it is shown alone."""

    agent = ""

    def _inner_get_response(self, *, messages: Any, stream: bool, options: Any, **kwargs: Any) -> Any:
        if stream:
            return self._build_response_stream(self._stream(messages))
        return self._reply(messages)

    async def _stream(self, messages: Any) -> AsyncIterator[ChatResponseUpdate]:
        reply = await self._reply(messages)
        yield ChatResponseUpdate(role="assistant", contents=reply.messages[0].contents)

    async def _reply(self, messages: Any) -> ChatResponse:
        await work.model_called()
        results = [
            part for message in messages for part in message.contents if part.type == "function_result"
        ]
        if self.agent == "triage":
            said = [Content.from_function_call("h1", "handoff_to_billing", arguments="{}")]
        elif results:
            work.check_results(str([part.result for part in results]))
            said = [Content.from_text(work.ANSWER)]
        else:
            said = [
                Content.from_function_call(tool, tool, arguments=json.dumps(given))
                for tool, given in work.ARGUMENTS.items()
            ]
        return ChatResponse(messages=[Message(role="assistant", contents=said)])


class Scripted(FunctionInvocationLayer, ChatMiddlewareLayer, ChatTelemetryLayer, _Client):
    """The client with the layers that the framework's own clients have."""

    def __init__(self, agent: str) -> None:
        super().__init__()
        self.agent = agent


class Column:
    """Two agents; a workflow of them for each run."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def open(self, server_url: str, directory: Path, *, durable: bool) -> None:
        logging.getLogger("agent_framework_orchestrations").setLevel(logging.ERROR)
        tools = await self._stack.enter_async_context(
            MCPStreamableHTTPTool("bench", server_url, load_prompts=False, approval_mode="never_require")
        )
        self._storage = FileCheckpointStorage(str(directory / "checkpoints")) if durable else None
        self._billing = Agent(
            Scripted("billing"),
            work.BILLING,
            name="billing",
            id="billing",
            tools=[tools],
            require_per_service_call_history_persistence=True,
        )
        self._triage = Agent(
            Scripted("triage"),
            work.TRIAGE,
            name="triage",
            id="triage",
            require_per_service_call_history_persistence=True,
        )

    async def run(self, name: str) -> str:
        builder = HandoffBuilder(
            participants=[self._triage, self._billing],
            checkpoint_storage=self._storage,
            termination_condition=lambda said: bool(said) and said[-1].text == work.ANSWER,
        )
        workflow = builder.with_start_agent(self._triage).add_handoff(self._triage, [self._billing]).build()
        done = await workflow.run(work.REQUEST)
        return str(done.get_outputs()[-1].text)

    async def close(self) -> None:
        await self._stack.aclose()
