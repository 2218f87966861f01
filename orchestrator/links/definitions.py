"""A server's tools as it lists them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.models.protocol import JsonObject

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import Tool

TOKEN = "idempotency_token"
MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool as its server lists it."""

    name: str
    description: str
    input_schema: JsonObject
    annotations: JsonObject = field(default_factory=dict)
    """The wire's hints, such as `readOnlyHint`; a missing one promises nothing."""
    output_schema: JsonObject | None = None

    @property
    def takes_token(self) -> bool:
        return TOKEN in self.input_schema.get("properties", {})

    @property
    def only_reads(self) -> bool:
        return self.annotations.get("readOnlyHint") is True

    @property
    def repeatable(self) -> bool:
        """Whether a second call with the same arguments and token has no second effect."""
        hints = (self.annotations.get("readOnlyHint"), self.annotations.get("idempotentHint"))
        return self.takes_token or True in hints


async def listed_tools(client: Client) -> AsyncIterator[ToolDefinition]:
    """Every tool of a server, page by page."""
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            yield _definition(tool)
        cursor = page.next_cursor
        if cursor is None:
            return


def _definition(tool: Tool) -> ToolDefinition:
    hints = tool.annotations.model_dump(by_alias=True, exclude_none=True) if tool.annotations else {}
    return ToolDefinition(
        tool.name, tool.description or tool.name, tool.input_schema, hints, tool.output_schema
    )
