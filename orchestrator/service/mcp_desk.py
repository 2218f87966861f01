"""The desk as an MCP server: any host hands requests in and asks what came of them."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any, NoReturn

import structlog
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, CallToolResult, InputRequiredResult, TextContent, ToolAnnotations
from pydantic import BaseModel, Field, ValidationError
from starlette.routing import Route

from handoff.errors import StructuredError
from handoff.tool_results import answer_of_exception, unknown_names_unquoted
from orchestrator.models.protocol import JsonObject
from orchestrator.runs.report import ErrorReport
from orchestrator.runs.steps import RunStatus
from orchestrator.service.front import Front
from orchestrator.service.problems import invalid_request
from orchestrator.service.requests import RunRequest
from orchestrator.service.tokens import Caller
from orchestrator.service.views import RunView

PATH = "/mcp"
LONGEST_WAIT_SECONDS = 25.0
"""Hosts give a call up after 30 seconds; longer runs are asked for with `get_run`."""

DeskContext = Context[Any, Any]

log = structlog.get_logger(__name__)


class RunOutcome(BaseModel):
    """What came of a request so far."""

    run_id: str
    session_id: str
    """Pass it on with the customer's next message."""
    status: RunStatus
    result: str
    """The answer for the customer; empty until there is one."""
    reason: str | None
    ticket_id: str | None
    agent_path: list[str]
    errors: list[ErrorReport]


class DeskTools:
    """The tools, for whoever the gate says is calling."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def submit_request(
        self,
        input: Annotated[str, Field(description="What the customer wrote, word for word.")],
        context: DeskContext,
        customer_id: Annotated[
            str | None,
            Field(description="Whose request it is, when your credential may speak for any customer."),
        ] = None,
        session_id: Annotated[
            uuid.UUID | None, Field(description="session_id of the conversation this message belongs to.")
        ] = None,
        idempotency_token: Annotated[
            str | None,
            Field(min_length=1, max_length=255, description="Calls with the same token count once."),
        ] = None,
        wait_seconds: Annotated[
            float, Field(ge=0, le=LONGEST_WAIT_SECONDS, description="How long to wait for the answer.")
        ] = 20.0,
    ) -> RunOutcome:
        """Hand a customer's request to the support desk; its agents look things up, act, and answer.

        Not for looking something up yourself: use the servers' own tools for that. If the status is
        queued or running, ask again with get_run.
        """
        caller = _caller(context)
        try:
            body = RunRequest(input=input, customer_id=customer_id, session_id=session_id)
        except ValidationError as error:
            raise invalid_request(error, where="arguments") from None
        accepted = await self._front.accept(caller, body, idempotency_token)
        await self._front.wait(accepted.run_id, wait_seconds)
        return _outcome(await self._front.view(caller, accepted.run_id))

    async def get_run(
        self,
        run_id: Annotated[str, Field(description="run_id that submit_request returned.")],
        context: DeskContext,
        wait_seconds: Annotated[
            float, Field(ge=0, le=LONGEST_WAIT_SECONDS, description="How long to wait for its end.")
        ] = 0.0,
    ) -> RunOutcome:
        """Say what came of a request. Not for a new message of the customer: that is submit_request."""
        caller = _caller(context)
        await self._front.head(caller, run_id)
        await self._front.wait(run_id, wait_seconds)
        return _outcome(await self._front.view(caller, run_id))


class DeskServer(MCPServer[Any]):
    """Tells failures as structured data, like every server of this project."""

    async def call_tool(
        self, name: str, arguments: JsonObject, context: DeskContext | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Run a tool; whatever happens comes back as a result."""
        try:
            if self._tool_manager.get_tool(name) is None:
                raise StructuredError(
                    "the desk has no tool of that name",
                    code="unknown_tool",
                    suggestion="take a name from tools/list",
                )
            return await super().call_tool(name, arguments, context)
        except MCPError:
            raise
        except Exception as error:
            told = answer_of_exception(error).error or {}
            if told.get("code") == "tool_crashed":
                log.error("tool_crashed", tool=name, error=type(error.__cause__ or error).__name__)
            text = TextContent(type="text", text=json.dumps(told, ensure_ascii=False))
            return CallToolResult(content=[text], structured_content=told, is_error=True)

    async def read_resource(self, uri: Any, context: DeskContext | None = None) -> NoReturn:
        """Refuse: the desk has none."""
        raise MCPError(code=INVALID_PARAMS, message="this server has no such resource")


def desk_server(front: Front, *, version: str) -> DeskServer:
    """The desk's MCP server."""
    server = DeskServer(
        "switchboard-desk",
        title="Switchboard support desk",
        instructions="Hand in a customer's request with submit_request; follow it with get_run.",
        version=version,
        middleware=[unknown_names_unquoted],
        log_level="WARNING",
    )
    tools = DeskTools(front)
    writes = ToolAnnotations(
        title="Submit a request",
        read_only_hint=False,
        destructive_hint=False,
        idempotent_hint=True,
        open_world_hint=False,
    )
    reads = ToolAnnotations(
        title="Get a run",
        read_only_hint=True,
        destructive_hint=False,
        idempotent_hint=True,
        open_world_hint=False,
    )
    server.add_tool(tools.submit_request, annotations=writes, structured_output=True)
    server.add_tool(tools.get_run, annotations=reads, structured_output=True)
    return server


def desk_route(server: DeskServer) -> tuple[Route, StreamableHTTPSessionManager]:
    """The route to the server, and what has to run while it is served."""
    # The gate in front of every route has checked the host, the origin and the token already.
    server.streamable_http_app(
        stateless_http=True,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    sessions = server.session_manager
    return Route(PATH, StreamableHTTPASGIApp(sessions), include_in_schema=False), sessions


def _caller(context: DeskContext) -> Caller:
    request = context.request_context.request
    caller = request.scope["state"]["caller"] if request is not None else None
    assert isinstance(caller, Caller)
    return caller


def _outcome(view: RunView) -> RunOutcome:
    return RunOutcome.model_validate(view.model_dump(include=set(RunOutcome.model_fields)))
