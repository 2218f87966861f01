"""The tools, resources and prompts that the suite calls by name; a support server has none of them."""

from __future__ import annotations

import base64
from typing import Annotated

from mcp.server.mcpserver import Audio, Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    Completion,
    CompletionArgument,
    CompletionContext,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
"""A PNG of one pixel."""
SILENCE = base64.b64encode(
    b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00"
    b"\x01\x00\x08\x00data\x00\x00\x00\x00"
).decode()
"""A WAV file without a sample."""


def install(server: MCPServer) -> None:
    """Mount them on a server that is otherwise as it is shipped."""
    _tools(server)
    _content_tools(server)
    _resources(server)
    _prompts(server)


def _tools(server: MCPServer) -> None:
    @server.tool()
    async def test_simple_text() -> str:
        """Answer with text."""
        return "This is a simple text response for testing."

    @server.tool()
    async def test_error_handling() -> str:
        """Fail on purpose."""
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool()
    async def test_tool_with_progress(context: Context) -> str:
        """Report progress three times."""
        for done in (0, 50, 100):
            await context.report_progress(done, 100)
        return "done"

    @server.tool()
    async def test_missing_capability(context: Context) -> str:
        """Need a capability that a client may not have."""
        declared = context.client_capabilities
        if declared is None or declared.sampling is None:
            needed = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "this tool needs sampling", needed)
        return "declared"

    @server.tool()
    async def test_trigger_tool_change(context: Context) -> str:
        """Tell subscribers that the tools changed."""
        await context.notify_tools_changed()
        return "told"

    @server.tool()
    async def test_trigger_prompt_change(context: Context) -> str:
        """Tell subscribers that the prompts changed."""
        await context.notify_prompts_changed()
        return "told"


def _content_tools(server: MCPServer) -> None:
    embedded = EmbeddedResource(
        type="resource",
        resource=TextResourceContents(
            uri="test://embedded-resource",
            mime_type="text/plain",
            text="This is an embedded resource content.",
        ),
    )
    picture = ImageContent(type="image", data=PIXEL, mime_type="image/png")

    @server.tool(structured_output=False)
    async def test_image_content() -> Image:
        """Answer with a picture."""
        return Image(data=base64.b64decode(PIXEL), format="png")

    @server.tool(structured_output=False)
    async def test_audio_content() -> Audio:
        """Answer with sound."""
        return Audio(data=base64.b64decode(SILENCE), format="wav")

    @server.tool(structured_output=False)
    async def test_embedded_resource() -> EmbeddedResource:
        """Answer with a resource."""
        return embedded

    @server.tool(structured_output=False)
    async def test_multiple_content_types() -> list[ContentBlock]:
        """Answer with one of each."""
        return [TextContent(type="text", text="Multiple content types test:"), picture, embedded]


def _resources(server: MCPServer) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    async def static_text() -> str:
        """A resource that is text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    async def static_binary() -> bytes:
        """A resource that is not."""
        return base64.b64decode(PIXEL)

    @server.resource("test://template/{id}/data", mime_type="application/json")
    async def from_template(id: str) -> dict[str, object]:
        """A resource of many."""
        return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}


def _prompts(server: MCPServer) -> None:
    @server.prompt()
    async def test_simple_prompt() -> str:
        """A prompt without arguments."""
        return "This is a simple prompt for testing."

    @server.prompt()
    async def test_prompt_with_arguments(
        arg1: Annotated[str, Field(description="the first")],
        arg2: Annotated[str, Field(description="the second")],
    ) -> str:
        """A prompt with two arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt()
    async def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
        """A prompt that carries a resource."""
        text = TextResourceContents(
            uri=resourceUri, mime_type="text/plain", text="Embedded resource content for testing."
        )
        return [
            UserMessage(EmbeddedResource(type="resource", resource=text)),
            UserMessage("Please process the embedded resource above."),
        ]

    @server.prompt()
    async def test_prompt_with_image() -> list[UserMessage]:
        """A prompt that carries a picture."""
        picture = ImageContent(type="image", data=PIXEL, mime_type="image/png")
        return [UserMessage(picture), UserMessage("Please analyze the image above.")]

    @server.completion()
    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion | None:
        return Completion(values=[f"{argument.value}-completed"], total=1, has_more=False)
