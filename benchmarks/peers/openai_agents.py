"""openai-agents: a handoff between two agents. Durable is its SQLite session: memory, not resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents import (
    Agent,
    Model,
    ModelResponse,
    RunConfig,
    Runner,
    SQLiteSession,
    Usage,
    set_tracing_disabled,
)
from agents.mcp import MCPServerStreamableHttp
from agents.testing import assistant_message, function_call

from benchmarks.peers import work

DISTRIBUTIONS = ("openai-agents", "mcp")


class Scripted(Model):
    """Answers at once, from what it is shown alone."""

    def __init__(self, agent: str) -> None:
        self._agent = agent

    async def get_response(
        self, system_instructions: Any, input: Any, *args: Any, **kwargs: Any
    ) -> ModelResponse:
        await work.model_called()
        items = input if isinstance(input, list) else []
        results = [item for item in items if item.get("type") == "function_call_output"]
        results = [item for item in results if item["call_id"] != "h1"]
        if self._agent == "triage":
            said = [function_call("transfer_to_billing", {}, call_id="h1")]
        elif results:
            work.check_results(str(results))
            said = [assistant_message(work.ANSWER)]
        else:
            said = [function_call(tool, given, call_id=tool) for tool, given in work.ARGUMENTS.items()]
        return ModelResponse(output=said, usage=Usage(requests=1), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the work does not stream")


class Column:
    """Two agents over one MCP connection whose tool list is kept, as its guide advises."""

    async def open(self, server_url: str, directory: Path, *, durable: bool) -> None:
        set_tracing_disabled(True)
        self._database = str(directory / "sessions.db") if durable else None
        self._server = MCPServerStreamableHttp(
            {"url": server_url, "timeout": 60}, cache_tools_list=True, client_session_timeout_seconds=60
        )
        await self._server.connect()
        billing = Agent(
            name="billing",
            instructions=work.BILLING,
            model=Scripted("billing"),
            mcp_servers=[self._server],
        )
        self._triage = Agent(
            name="triage", instructions=work.TRIAGE, model=Scripted("triage"), handoffs=[billing]
        )
        self._settings = RunConfig(tracing_disabled=True)

    async def run(self, name: str) -> str:
        session = SQLiteSession(name, self._database) if self._database else None
        try:
            done = await Runner.run(self._triage, work.REQUEST, run_config=self._settings, session=session)
            return str(done.final_output)
        finally:
            if session is not None:
                session.close()

    async def close(self) -> None:
        await self._server.cleanup()
