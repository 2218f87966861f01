"""From a server's definition to the MCP server that hosts it."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations

from handoff.envelope import DEFAULT_TTL_SECONDS
from handoff.extension import Handoff
from handoff.guide import hand_over_prompt
from handoff.hints import every_tool
from handoff.retention import Sweepable, keeping
from handoff.store import Store
from handoff.store_checkpoints import StoreCheckpoints
from handoff.stored_contexts import StoredContexts
from servers._auth.scopes import Scopes
from servers._definition import ServerDefinition
from servers._feed import Feed, offer_changes
from servers._handoffs import HandoffSettings
from servers._hosting.asking import Asking
from servers._hosting.callers import Callers
from servers._hosting.calls import party_of
from servers._hosting.guard import GuardedServer, Limits
from servers._hosting.people import offer_to_people
from servers._people import Approver, PeopleRoute
from servers._tools import ToolTraits, declared_tools

Transport = Literal["stdio", "http"]

DISTRIBUTION = "switchboard-mcp"


@dataclass(frozen=True, slots=True)
class Hosted:
    """A server, and what has to be swept while it runs."""

    server: GuardedServer
    swept: tuple[Sweepable, ...]


def build_server(
    definition: ServerDefinition,
    store: Store,
    *,
    transport: Transport = "stdio",
    asks_for_credentials: bool = False,
    read_only: bool = False,
    limits: Limits | None = None,
    handoffs: HandoffSettings | None = None,
) -> GuardedServer:
    """The server of a definition over its open store; whoever builds it closes it."""
    return hosted(
        definition,
        store,
        transport=transport,
        asks_for_credentials=asks_for_credentials,
        read_only=read_only,
        limits=limits,
        handoffs=handoffs,
    ).server


def hosted(
    definition: ServerDefinition,
    store: Store,
    *,
    transport: Transport = "stdio",
    asks_for_credentials: bool = False,
    read_only: bool = False,
    limits: Limits | None = None,
    handoffs: HandoffSettings | None = None,
) -> Hosted:
    """The same, with what its process should sweep."""
    limits = limits or Limits()
    handoffs = handoffs or HandoffSettings()
    extension = _handoff(definition.name, store, transport, limits, handoffs)
    declared = declared_tools(definition.tools(store))
    tools = [
        _as_mcp_tool(_keeping_its_token(method, traits, handoffs), traits) for method, traits in declared
    ]
    people = definition.people(store) if definition.people is not None else ()
    approver = definition.approver(store) if definition.approver is not None else None
    scopes = scopes_of(definition.name, declared, people, approver)
    local = None
    if not asks_for_credentials:
        local = scopes.local(os.environ, with_person=transport == "stdio")
    server = GuardedServer(
        definition.name,
        store,
        title=definition.title,
        instructions=definition.instructions,
        version=distribution_version(),
        tools=tools,
        callers=Callers(scopes, local),
        extensions=[extension],
        asking=Asking(approver) if approver is not None else None,
        read_only=read_only,
        limits=limits,
    )
    server.add_prompt(hand_over_prompt(definition.name))
    offer_changes(server, Feed(definition.name, store))
    offer_to_people(server, people)
    return Hosted(server, (store, extension))


def scopes_of(
    name: str,
    declared: Sequence[tuple[Callable[..., Awaitable[Any]], ToolTraits]],
    people: Sequence[PeopleRoute] = (),
    approver: Approver | None = None,
) -> Scopes:
    """Which scope what of a server needs, as it is declared with the tools and the routes."""
    asked = {approver.scope} if approver is not None else set()
    return Scopes(
        of_tools={method.__name__: f"{name}:{traits.scope}" for method, traits in declared},
        of_people=frozenset({route.scope for route in people} | asked),
        reading=f"{name}:read",
    )


def _handoff(
    name: str, store: Store, transport: Transport, limits: Limits, handoffs: HandoffSettings
) -> Handoff:
    # On stdio a model copies the envelope between two servers: it is slower than a program, and
    # should not have to repeat more than a page.
    by_model = transport == "stdio"
    return Handoff(
        name,
        StoreCheckpoints(store, keep_seconds=handoffs.retention.seconds()),
        StoredContexts(store),
        max_in_flight=limits.max_in_flight,
        allows_hint=every_tool,
        principal=party_of,
        default_ttl_seconds=3600 if by_model else DEFAULT_TTL_SECONDS,
        max_context_bytes=4096 if by_model else None,
        keys=handoffs.keys,
        require_signature=handoffs.require_signature,
        context_store=handoffs.context_store,
    )


def _keeping_its_token(
    method: Callable[..., Awaitable[Any]], traits: ToolTraits, handoffs: HandoffSettings
) -> Callable[..., Awaitable[Any]]:
    """The tool, its token kept as long as what it does asks for: what is destructive may be money."""
    seconds = handoffs.retention.seconds(moves_money=traits.destructive)

    @functools.wraps(method)
    async def run(*arguments: Any, **named: Any) -> Any:
        with keeping(seconds):
            return await method(*arguments, **named)

    return run


def distribution_version() -> str:
    """The installed version, which hosts show; a source tree that is not installed has none."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0+source"


def _as_mcp_tool(method: Callable[..., Awaitable[Any]], traits: ToolTraits) -> Tool:
    return Tool.from_function(
        method,
        title=traits.title,
        description=_described(method),
        annotations=ToolAnnotations(
            title=traits.title,
            read_only_hint=traits.read_only,
            destructive_hint=traits.destructive,
            idempotent_hint=traits.idempotent,
            open_world_hint=traits.open_world,
        ),
        structured_output=True,
    )


def _described(method: Callable[..., Awaitable[Any]]) -> str:
    """The docstring without its line breaks, which mean nothing to a model; paragraphs stay."""
    paragraphs = re.split(r"\n\s*\n", inspect.getdoc(method) or "")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
