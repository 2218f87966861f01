"""The service in this process, on a free port, with a played model and a server whose calls a test steers."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from mcp.server import MCPServer
from mcp.types import ToolAnnotations
from pydantic import BaseModel

from orchestrator.models.history import validate_history
from orchestrator.models.protocol import ModelReply, ModelRequest, OnText, Stop
from orchestrator.service.serving import serve
from orchestrator.service.settings import ServiceSettings
from orchestrator.service.tokens import hashed
from orchestrator.team import Team, parse_team

Reply = ModelReply | str | list[dict[str, Any]]
Brain = Callable[[ModelRequest], Awaitable[Reply]]

WAIT_SECONDS = 20.0
"""Bound of every wait: far above what anything here takes, so that only a hang reaches it."""

TEAM = """
entry = "triage"
[limits]
run_seconds = 60
[escalation]
tool = "ledger.create_ticket"
[agents.triage]
model = "small"
instructions = "Find out what it is about."
tools = ["ledger.look", "ledger.hold", "ledger.write"]
transfers = ["billing"]
asks = ["billing"]
[agents.billing]
model = "big"
instructions = "Charges and refunds."
tools = ["ledger.look", "ledger.hold", "ledger.write"]
[servers.ledger]
urls = ["{url}"]
"""

ids = itertools.count()


class Looked(BaseModel):
    invoice_id: str


class Written(BaseModel):
    effects: int


class Ticket(BaseModel):
    ticket_id: str


@dataclass
class Ledger:
    """What the server of the tests did, and when it may go on."""

    url: str = ""
    looks: int = 0
    effects: dict[str, set[str | None]] = field(default_factory=dict)
    holding: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    cut_off: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a held call was cancelled."""
    tickets: list[str] = field(default_factory=list)

    def server(self) -> MCPServer:
        mcp = MCPServer("ledger", version="0", log_level="ERROR")
        reads = ToolAnnotations(read_only_hint=True)

        @mcp.tool(annotations=reads)
        async def look(invoice_id: str = "inv_1") -> Looked:
            """Look something up."""
            self.looks += 1
            return Looked(invoice_id=invoice_id)

        @mcp.tool(annotations=reads)
        async def hold(key: str) -> Looked:
            """Wait until the test lets go."""
            self.holding.set()
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await self.released.wait()
            except asyncio.CancelledError:
                self.cut_off.set()
                raise
            return Looked(invoice_id=key)

        @mcp.tool()
        async def write(key: str, idempotency_token: str | None = None) -> Written:
            """Take effect once per token."""
            self.effects.setdefault(key, set()).add(idempotency_token)
            return Written(effects=len(self.effects[key]))

        @mcp.tool()
        async def create_ticket(
            subject: str,
            description: str,
            priority: str,
            category: str,
            customer_id: str | None = None,
            idempotency_token: str | None = None,
        ) -> Ticket:
            """Open a ticket."""
            self.tickets.append(subject)
            return Ticket(ticket_id=f"tck_{len(self.tickets)}")

        return mcp


@asynccontextmanager
async def ledger_served() -> AsyncIterator[Ledger]:
    """The ledger over HTTP, in this process."""
    ledger = Ledger()
    listener = socket.create_server(("127.0.0.1", 0))
    ledger.url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    app = ledger.server().streamable_http_app(stateless_http=True)
    config = uvicorn.Config(app, log_config=None, http="h11", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([listener]))  # `serve` would take this process's signals
    try:
        yield ledger
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, WAIT_SECONDS)


class Played:
    """A model that a function plays; it checks every history it is given."""

    def __init__(self, brain: Brain) -> None:
        self._brain = brain
        self.requests: list[ModelRequest] = []

    async def reply(self, request: ModelRequest, *, on_text: OnText | None = None) -> ModelReply:
        validate_history(request.messages)
        self.requests.append(request)
        said = await self._brain(request)
        if isinstance(said, ModelReply):
            return said
        if isinstance(said, str):
            return ModelReply([{"type": "text", "text": said}], Stop.END, "played")
        return ModelReply(said, Stop.TOOLS, "played")

    async def close(self) -> None:
        pass


async def hello(request: ModelRequest) -> Reply:
    """Answers at once."""
    return "Hello."


def gated(gate: asyncio.Event, text: str = "Done.") -> Brain:
    """Answers when the test lets it."""

    async def brain(request: ModelRequest) -> Reply:
        async with asyncio.timeout(WAIT_SECONDS):
            await gate.wait()
        return text

    return brain


def use(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{next(ids)}", "name": name, "input": arguments}


def transfer(agent: str, **facts: Any) -> list[dict[str, Any]]:
    return [use(f"transfer_to_{agent}", summary="please", facts=facts)]


def context_of(request: ModelRequest) -> dict[str, Any]:
    """The context block that the agent began with."""
    found: dict[str, Any] = json.loads(request.messages[0]["content"][0]["text"].split("\n")[1])
    return found


def asked(request: ModelRequest) -> str:
    """The customer's words."""
    return str(request.messages[0]["content"][1]["text"])


def is_first_turn(request: ModelRequest) -> bool:
    return len(request.messages) == 1


def team_at(url: str, **limits: Any) -> Team:
    team = parse_team(TEAM.replace("{url}", url))
    return team.model_copy(update={"limits": team.limits.model_copy(update=limits)})


DEAD = "http://127.0.0.1:9/mcp"


@dataclass
class Service:
    """A running service and a client of it."""

    url: str
    http: httpx2.AsyncClient
    model: Played
    task: asyncio.Task[None]

    async def create(
        self, text: str = "Hello", *, wait: float = 0, key: str | None = None, **body: Any
    ) -> Any:
        headers = {"idempotency-key": key} if key is not None else {}
        return await self.http.post(
            "/v1/runs", params={"wait": wait} if wait else {}, json={"input": text, **body}, headers=headers
        )

    async def run_of(self, text: str = "Hello", **options: Any) -> dict[str, Any]:
        """Hand a request in and wait for its end."""
        answer = await self.create(text, wait=WAIT_SECONDS, **options)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def until_asked(self, times: int = 1) -> None:
        """Wait until the model was asked that often."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.model.requests) < times:  # noqa: ASYNC110 a played model has no event
                await asyncio.sleep(0.005)

    async def ended(self, run_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/runs/{run_id}", params={"wait": WAIT_SECONDS})
        found: dict[str, Any] = answer.json()
        assert found["status"] not in ("queued", "running"), found
        return found

    async def stop(self) -> None:
        if not self.task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(self.task, WAIT_SECONDS)


@asynccontextmanager
async def service(
    directory: Path,
    brain: Brain = hello,
    *,
    team: Team | None = None,
    settings: ServiceSettings | None = None,
    tokens: Path | None = None,
    token: str | None = None,
    store_url: str | None = None,
    **options: Any,
) -> AsyncIterator[Service]:
    """The service over a store in `directory`; a second one takes up what the first one left."""
    model = Played(brain)
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(
            team or team_at(DEAD),
            model=model,
            model_name="played",
            store_url=store_url or f"sqlite:///{directory.as_posix()}/runs.db",
            port=0,
            settings=settings,
            tokens=tokens,
            listening=url.set_result,
            **options,
        )
    )
    await asyncio.wait({task, asyncio.ensure_future(url)}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
    if task.done():
        await task
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(base_url=url.result(), headers=headers, timeout=WAIT_SECONDS) as http:
        running = Service(url.result(), http, model, task)
        try:
            yield running
        finally:
            await running.stop()


def token_file(directory: Path, **entries: str | tuple[str, str]) -> Path:
    """A file of tokens by principal; a pair is a token and the customer it is for."""
    path = directory / "tokens.toml"
    tables = []
    for principal, entry in entries.items():
        token, customer = entry if isinstance(entry, tuple) else (entry, None)
        table = f'[[tokens]]\nprincipal = "{principal}"\nsha256 = "{hashed(token)}"\n'
        tables.append(table + (f'customer_id = "{customer}"\n' if customer else ""))
    path.write_text("\n".join(tables), "utf-8")
    return path


@dataclass(frozen=True)
class Event:
    """An event of a stream."""

    id: int
    name: str
    data: dict[str, Any]


async def events_of(response: httpx2.Response) -> AsyncIterator[Event]:
    """The events of a stream, without its comments."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and "data" in fields:
            yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}
