"""langgraph: a swarm of two agents. Durable checkpoints each step in SQLite before the next."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph_swarm import create_handoff_tool, create_swarm

from benchmarks.peers import work

DISTRIBUTIONS = ("langgraph", "langchain", "langgraph-swarm", "langgraph-checkpoint-sqlite", "mcp")


class Scripted(BaseChatModel):
    """Answers at once, from what it is shown alone."""

    agent: str

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise AssertionError("the work is asynchronous")

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        await work.model_called()
        return ChatResult(generations=[ChatGeneration(message=self._said(messages))])

    def _said(self, messages: list[BaseMessage]) -> AIMessage:
        if self.agent == "triage":
            handover = {"id": "h1", "name": "transfer_to_billing", "args": {}}
            return AIMessage(content="", tool_calls=[handover])
        results = [
            message
            for message in messages
            if isinstance(message, ToolMessage) and message.name in work.ARGUMENTS
        ]
        if results:
            work.check_results(str([message.content for message in results]))
            return AIMessage(content=work.ANSWER)
        calls = [{"id": tool, "name": tool, "args": given} for tool, given in work.ARGUMENTS.items()]
        return AIMessage(content="", tool_calls=calls)


class Column:
    """A compiled swarm over one MCP session."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def open(self, server_url: str, directory: Path, *, durable: bool) -> None:
        client = MultiServerMCPClient({"bench": {"url": server_url, "transport": "streamable_http"}})
        session = await self._stack.enter_async_context(client.session("bench"))
        tools = [tool for tool in await load_mcp_tools(session) if tool.name in work.ARGUMENTS]
        saver = None
        if durable:
            saver = await self._stack.enter_async_context(
                AsyncSqliteSaver.from_conn_string(str(directory / "checkpoints.db"))
            )
        billing = create_agent(
            Scripted(agent="billing"), tools=tools, system_prompt=work.BILLING, name="billing"
        )
        triage = create_agent(
            Scripted(agent="triage"),
            tools=[create_handoff_tool(agent_name="billing")],
            system_prompt=work.TRIAGE,
            name="triage",
        )
        self._durable = durable
        self._app = create_swarm([triage, billing], default_active_agent="triage").compile(checkpointer=saver)

    async def run(self, name: str) -> str:
        settings: dict[str, Any] = {}
        if self._durable:
            settings = {"config": {"configurable": {"thread_id": name}}, "durability": "sync"}
        done = await self._app.ainvoke({"messages": [{"role": "user", "content": work.REQUEST}]}, **settings)
        return str(done["messages"][-1].content)

    async def close(self) -> None:
        await self._stack.aclose()
